"""Azure Custom Vision's side files: `metadata_properties.json`, which `cvexport.manifest` assigns to one model file."""

from __future__ import annotations

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.pixel_metadata.image_metadata import read_image_metadata
from onnxspace.model.pixel_metadata.side_files import SideFiles


def read_custom_vision(files: SideFiles) -> ModelOptions:
    """The options in `metadata_properties.json`, where it belongs to the model: it is the manifest's, or the only one there.

    `labels.txt` and the manifest itself state nothing of pixels.
    """
    found = files.find_json("metadata_properties.json")
    if found is None or not _belongs(files):
        return ModelOptions()
    return files.read(found, read_image_metadata)


def _belongs(files: SideFiles) -> bool:
    manifest = files.find_json("cvexport.manifest")
    named = None if manifest is None else manifest.content.get("ModelFileName")
    return files.siblings == 0 if named is None else named == files.model.name
