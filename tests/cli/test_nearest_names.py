"""An unknown name of anything gets the nearest ones, in one kind of sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxspace.inputs.nearest_names import describe_missing_file, describe_unknown, find_nearest
from tests.helpers.sentences import Cli, refused

CHECK = "[check.artifacts.a]\nmodel = 'good.onnx'\n"
#: A command, what is unknown, and the name that is meant.
UNKNOWN = {
    "scoer": ("command 'scoer'", "score"),
    "space lst": ("command 'lst'", "list"),
    "score good.onnx fine.onnx --metod elrp": ("option '--metod'", "--method"),
    "score good.onnx fine.onnx --method elpr": ("method 'elpr'", "elrp"),
    "score good.onnx fine.onnx --by preditivity": ("score of two models 'preditivity'", "predictivity"),
    "score good.onnx fine.onnx --target godo": ("model 'godo'", "good"),
    "score good.onnx fine.onnx --encoder godo=x": ("model 'godo'", "good"),
    "score good.onnx fine.onnx --pixels godo=unit": ("model 'godo'", "good"),
    "score good.onnx fine.onnx --pixels imgnet": ("preset of pixels 'imgnet'", "imagenet"),
    "score good.onnx fine.onnx --color RGBB": ("color 'RGBB'", "RGB"),
    "transfer good.onnx --data . --by logm": ("score by labels 'logm'", "logme"),
    "explain good.onnx photo.png -o maps.png --method salience": ("method 'salience'", "saliency"),
    "check good.onnx --against fine.onnx --limit afinity=0.9": ("metric 'afinity'", "affinity"),
    "check good.onnx --against fine.onnx --format jnit": ("format 'jnit'", "junit"),
    "check good.onnx --calibrate --form haff": ("form 'haff'", "half"),
    "inspect good.onnx --encoder feature": ("tensor or node 'feature'", "features"),
    "convert torchvison:resnet18 -o out.onnx": ("", "torchvision:"),
    "convert net.pt3 -o out.onnx": ("", ".pt2"),
    "convert tests.helpers.torchnets:plain -o out.onnx --using trch": ("exporter 'trch'", "torch"),
    "completion bsh": ("shell 'bsh'", "bash"),
    "inspect hugingface:org/name": ("", "hf:"),
    "inspect godo.onnx": ("no such file", "good.onnx"),
    "score good.onnx fine.onnx --probe foto": ("The probe folder foto does not exist", "fotos"),
    "score good.onnx fine.onnx --probe foto.npy": ("foto.npy: no such file", "fotos.npy"),
    "space create new.space --probe foto": ("The probe folder foto does not exist", "fotos"),
    "transfer good.onnx --data foto": ("foto does not exist", "fotos"),
    "evaluate --oracle t.scv --predicted t.csv": ("t.scv: no such file", "t.csv"),
    "score good.onnx fine.onnx --config my.tml": ("my.tml: no such file", "my.toml"),
    "space list zo.space": ("", "zoo.space"),
    "diff good.onnx fine.onnx --sort sn": ("order 'sn'", "snr"),
    "diff good.onnx fine.onnx --status depart": ("status 'depart'", "departs"),
    "diff good.onnx fine.onnx --format markdwn": ("format 'markdwn'", "markdown"),
    "space rank zoo.space godo": ("model 'godo'", "good"),
    "space list zoo.space --set defalt": ("set of probe images 'defalt'", "default"),
    "space list zoo.space --where licence=mit": ("key 'licence'", "license"),
}
#: What stands in onnxspace.toml, what is unknown, and the name that is meant.
TABLES = {
    "[modles.good]": ("onnxspace.toml: there is no table 'modles'", "models"),
    "[models.godo]": ("onnxspace.toml [models.godo]: there is no model 'godo'", "good"),
    "[models.good]\nsacle = 1": ("onnxspace.toml [models.good]: there is no key 'sacle'", "scale"),
    "[models.good]\npixels = 'imgnet'": ("onnxspace.toml [models.good]: there is no preset of pixels 'imgnet'", "imagenet"),
    "[models.good]\nlayout = 'NHCW'": ("onnxspace.toml [models.good]: there is no layout 'NHCW'", "NHWC"),
    "[rules.elpr]": ("onnxspace.toml [rules]: there is no rule set 'elpr'", "elrp"),
}
CHECK_TABLES = {
    "onnxspace.toml": ("[chek]", "onnxspace.toml: there is no table 'chek'", "check"),
    "pyproject.toml": ("[tool.onnxspace]\nchek = {}", "pyproject.toml [tool.onnxspace]: there is no table 'chek'", "check"),
    "./onnxspace.toml": (f"[check]\nmetod = 'elrp'\n{CHECK}", "onnxspace.toml [check]: there is no key 'metod'", "method"),
    "./pyproject.toml": (
        f"[tool.onnxspace.check]\nmethod = 'elpr'\n{CHECK.replace('[', '[tool.onnxspace.')}",
        "pyproject.toml [check]: there is no method 'elpr'", "elrp",
    ),
}  # fmt: skip


def assert_suggests(err: str, words: str, meant: str) -> None:
    text = " ".join(err.split())
    assert words in text
    assert re.search(rf"; did you mean (\S+ or )?{re.escape(meant)}( or \S+)?\?", text), text


@pytest.mark.parametrize("command", UNKNOWN)
def test_an_unknown_name_gets_the_nearest(cli: Cli, tmp_path: Path, command: str) -> None:
    if "o.space" in command:
        assert cli("space", "create", "zoo.space", "--images", "2").code == 0
        assert cli("space", "add", "zoo.space", "good.onnx", "--quiet").code == 0
    for name in ("fotos.npy", "t.csv", "my.toml"):
        (tmp_path / name).touch()
    (tmp_path / "fotos").mkdir()
    if "net.pt3" in command:
        (tmp_path / "net.pt3").write_bytes(b"")
    found = cli(*command.split())
    assert (found.code, found.out) == (2, "")
    assert_suggests(found.err, *UNKNOWN[command])
    if UNKNOWN[command][0] and not {"file", "exist"} & {*UNKNOWN[command][0].split()}:
        assert f"here is no {UNKNOWN[command][0]}; did you mean" in " ".join(found.err.split())


@pytest.mark.parametrize("command", [(), ("space",)])
def test_without_a_command_the_help_is_shown_as_it_is(cli: Cli, command: tuple[str, ...]) -> None:
    found, helped = cli(*command), cli(*command, "--help")
    assert (found.code, found.out, found.err) == (2, "", helped.out)
    assert "\n  -h, --help" in found.err
    assert "Error" not in found.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("report zoo", "Missing option --output. Give --output FILE.html."),
        ("transfer good.onnx", "Missing option --data. Give --data DIR|CSV."),
        ("explain good.onnx a.png", "Missing option --output. Give --output FILE.png|FILE.svg|FILE.html."),
        ("inspect", "Missing argument 'MODEL.onnx'."),
        ("completion", "Missing argument '{bash|zsh|fish}'.\n"),
    ],
)
def test_what_is_missing_is_named_with_the_form_of_its_value(cli: Cli, command: str, words: str) -> None:
    found = cli(*command.split())
    assert (found.code, found.out) == (2, "")
    assert f"Error: {words}" in found.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("space tree zoo.space -o", "There is no option '-o'."),
        ("inspect good.onnx -e x", "There is no option '-e'."),
        ("score good.onnx fine.onnx --images ten", "Invalid value for '--images': 'ten' is not a whole number."),
        ("layers good.onnx fine.onnx --lambda ten", "Invalid value for '--lambda': 'ten' is not a number."),
    ],
)
def test_what_is_mistyped_is_said_in_plain_words(cli: Cli, command: str, words: str) -> None:
    found = cli(*command.split())
    assert (found.code, found.out) == (2, "")
    assert f"Error: {words}\n" in found.err


def test_a_fingerprint_ends_in_fp(cli: Cli, tmp_path: Path) -> None:
    refused(
        cli("fingerprint", "good.onnx", "-o", "good"),
        "good is not a name for a fingerprint. Name a file that ends in .fp as --output.",
    )
    assert not (tmp_path / "good").exists()


def test_a_folder_is_no_baseline(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    refused(
        cli("check", "good.onnx", "--against", "photos"),
        "photos is a folder. Give a file in it; a model of a space is named as ZOO.space:NAME.",
    )


@pytest.mark.parametrize("text", TABLES)
def test_an_unknown_name_in_a_configuration_gets_the_nearest(cli: Cli, tmp_path: Path, text: str) -> None:
    (tmp_path / "onnxspace.toml").write_text(text)
    found = cli("score", "good.onnx", "fine.onnx", "--images", "2")
    assert (found.code, found.out) == (2, "")
    assert_suggests(found.err, *TABLES[text])


@pytest.mark.parametrize("file", CHECK_TABLES)
def test_an_unknown_name_in_the_tables_of_check_gets_the_nearest(cli: Cli, tmp_path: Path, file: str) -> None:
    text, words, meant = CHECK_TABLES[file]
    (tmp_path / file).write_text(text)
    found = cli("check")
    assert (found.code, found.out) == (2, "")
    assert_suggests(found.err, words, meant)


@pytest.mark.parametrize("command", ["list", "affinity", "tree"])
def test_a_value_that_no_model_has_gets_the_nearest_once(cli: Cli, command: str) -> None:
    assert cli("space", "create", "zoo.space", "--images", "2").code == 0
    assert cli("space", "add", "zoo.space", "good.onnx", "fine.onnx", "--license", "apache-2.0", "--quiet").code == 0
    found = cli("space", command, "zoo.space", "--where", "license=apache2")
    assert found.err.splitlines()[0] == "--where: there is no license 'apache2'; did you mean apache-2.0?"
    assert found.err.count("--where") == 1
    assert cli("space", "list", "zoo.space", "--where", "license=apache2").out.endswith("0 of 2 models\n")
    assert cli("space", "list", "zoo.space", "--where", "license=apache*").err == ""
    assert cli("space", "list", "zoo.space", "--where", "license!=apache2").err == ""
    assert cli("space", "list", "zoo.space", "--where", "license=apache2", "--quiet").err == ""


def test_names_are_near_whatever_their_capitals() -> None:
    assert find_nearest("rgbb", ["BGR", "RGB", "GREY"])[0] == "RGB"
    assert find_nearest("ResNet", ["resnet18", "vgg16"]) == ["resnet18"]
    assert find_nearest("", ["a"]) == []
    assert find_nearest("zzz", ["a", "b"]) == []


def test_a_sentence_has_bounded_names() -> None:
    words = describe_unknown("model", "x" * 10_000, [f"{i}" * 1000 for i in range(50)])
    assert len(words) < 1500
    assert words.endswith("and 38 more.")
    assert describe_unknown("model", "x\n\x1b", []) == "there is no model 'x ?'; there are none."


def test_files_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert describe_missing_file(tmp_path / "none/a.onnx") == "no such file. Check the path."
    (tmp_path / "a.onnx").touch()
    assert describe_missing_file(tmp_path / "a.onx").startswith("no such file; did you mean ")
