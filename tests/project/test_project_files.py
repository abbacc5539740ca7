"""Files for the hosting service and for citations: forms that are complete, and commands that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.paths import REPOSITORY

FORMS = sorted(path for path in (REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_have_names_and_fields(path: Path) -> None:
    form = read(path)
    assert len(form["name"]) > 5
    assert len(form["description"]) > 20
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) >= 3
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_there_is_a_form_for_each_kind_of_issue() -> None:
    assert [path.stem for path in FORMS] == ["question", "unreadable-model", "wrong-number"]
    assert "SECURITY.md" in FORMS[1].read_text("utf-8")
    assert (REPOSITORY / "SECURITY.md").is_file()


def test_the_weekly_job_tries_both_ends_of_the_dependencies() -> None:
    path = REPOSITORY / ".github/workflows/packages.yml"
    text, jobs = path.read_text("utf-8"), read(path)["jobs"]
    assert jobs["wheel"]["strategy"]["matrix"]["versions"] == ["lowest", "latest"]
    assert re.search(r'cron: "\d+ \d+ \* \* \d"', text)
    for stage in re.findall(r"\.ci/\w+", text):
        assert (REPOSITORY / stage).stat().st_mode & 0o100
    for test in re.findall(r"tests/\S+\.py", text):
        assert (REPOSITORY / test).is_file()


def test_links_of_the_pull_request_form_lead_somewhere() -> None:
    text = (REPOSITORY / ".github/PULL_REQUEST_TEMPLATE.md").read_text("utf-8")
    ((file, heading),) = re.findall(r"\]\(\.\./([\w.]+)#([\w-]+)\)", text)
    headings = re.findall(r"^## (.+)$", (REPOSITORY / file).read_text("utf-8"), re.M)
    assert heading in [one.lower().replace(" ", "-") for one in headings]


def test_the_citation_is_complete_and_of_this_version() -> None:
    found = read(REPOSITORY / "CITATION.cff")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert str(found["version"]) == project["version"]
    assert (found["cff-version"], found["type"], found["license"]) == ("1.2.0", "software", project["license"])
    assert found["keywords"] == project["keywords"]
    assert all(len(found[name]) > 20 for name in ("title", "abstract", "message"))
    assert found["authors"]
    assert found["references"][0]["title"] == "Deep Model Transferability from Attribution Maps"
