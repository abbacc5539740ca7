"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.commands.check import check
from onnxspace.cli.commands.convert import convert
from onnxspace.cli.commands.explain import explain
from onnxspace.cli.commands.fingerprint import fingerprint
from onnxspace.cli.commands.inspect import inspect
from onnxspace.cli.commands.layers import layers
from onnxspace.cli.commands.report import report
from onnxspace.cli.commands.score import score
from onnxspace.cli.commands.space import space
from onnxspace.cli.commands.transfer import transfer
from onnxspace.inputs.axes import AXES
from onnxspace.inputs.config import PROVENANCE, load_config
from onnxspace.inputs.methods import METHODS
from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def long_options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_the_table_lists_every_option_of_score() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)", section("Commands"), re.M)
    assert sorted(listed) == sorted(long_options(score))


def test_the_table_lists_every_option_of_transfer() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)", section("With labels: which model suits my photos?"), re.M)
    assert sorted(listed) == sorted(long_options(transfer))


def test_the_table_lists_every_option_of_check() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)", section("Is this export still the same model?"), re.M)
    assert sorted(listed) == sorted(long_options(check))


def test_the_action_and_the_hook_ask_for_what_there_is() -> None:
    from onnxspace.checking.child.forms import FORMS as CHILD_FORMS
    from onnxspace.checking.formats import FORMATS
    from onnxspace.cli.commands.check import FORMS

    asked = (REPOSITORY / "action.yml").read_text("utf-8").split('programs/onnxspace" check')[1].split("- name:")[0]
    assert set(re.findall(r"(--[a-z-]+)", asked)) == {"--quiet", "--pictures", "--format"} <= long_options(check)
    assert set(re.findall(r"--format ([a-z]+)", asked)) <= set(FORMATS)
    assert "entry: onnxspace check\n" in (REPOSITORY / ".pre-commit-hooks.yaml").read_text("utf-8")
    assert set(FORMS) == set(CHILD_FORMS)


def test_the_tasks_of_transfer_are_the_kinds_of_labels() -> None:
    from onnxspace.cli.commands.transfer import KINDS
    from onnxspace.inputs.photos import KINDS as LABEL_KINDS

    assert KINDS == LABEL_KINDS


def test_the_page_on_checks_has_every_metric_and_a_valid_plan() -> None:
    import tomllib

    from onnxspace.checking.measure import METRICS
    from onnxspace.checking.plan import parse_plan

    page = (REPOSITORY / "docs/check.md").read_text("utf-8")
    rows = {row.split("`")[1]: row.split("|")[-2].strip() for row in page.splitlines() if row.startswith("| `")}
    signs = {"more": "at least", "less": "at most"}
    limits = {name: "none" if m.limit is None else f"{signs[m.better]} {m.limit:g}" for name, m in METRICS.items()}
    assert rows == limits
    toml = page.split("```toml\n")[1].split("```")[0]
    plan = parse_plan(tomllib.loads(toml)["check"], Path("onnxspace.toml"))
    assert [one.name for one in plan.artifacts] == ["resnet50", "resnet50-int8", "digits", "student"]


def test_the_scores_of_transfer_named_are_its_defaults() -> None:
    from onnxspace.workflows.rate import DEFAULT_SCORES

    row = next(line for line in section("With labels: which model suits my photos?").splitlines() if "`--by" in line)
    named = re.findall(r"`([a-z_]+)`", row)
    assert named == [*DEFAULT_SCORES["classes"], *DEFAULT_SCORES["regression"]]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("inspect MODEL.onnx", inspect),
        ("explain MODEL.onnx", explain),
        ("fingerprint MODEL.onnx", fingerprint),
        ("convert SOURCE", convert),
        ("report ZOO.space", report),
    ],
)
def test_the_options_named_for_a_command_exist(name: str, command: click.Command) -> None:
    paragraph = README.split(f"`onnxspace {name}")[1].split("\n")[0]
    assert set(re.findall(r"`(--[a-z-]+)`", paragraph)) == long_options(command)


def test_the_tables_of_layers_and_of_scores_are_the_programs() -> None:
    from onnxspace.scores.registry import SCORES

    listed = re.findall(r"^\| `(--[a-z-]+)", section("Which layer to start from"), re.M)
    assert sorted(listed) == sorted(long_options(layers))
    rows = [line.split("|") for line in section("Other scores").splitlines() if line.startswith("| `")][1:]
    pairs = {name: spec for name, spec in SCORES.items() if spec.needs == "pair"}
    assert [row[1].strip(" `") for row in rows] == list(pairs)
    assert [row[3].strip().split(", ") for row in rows] == [list(spec.arrays) for spec in pairs.values()]
    assert [row[4].strip() for row in rows] == [spec.source for spec in pairs.values()]


def test_the_layers_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    line = README.split("<!-- layers -->")[1].split("```")[1].splitlines()[1]
    with pytest.raises(SystemExit) as stopped:
        main([*line.split()[1:], "--images", "3"])
    assert not stopped.value.code
    assert (tmp_path / "layers.png").is_file()


def test_the_choices_in_the_tables_are_those_of_the_library() -> None:
    from onnxspace.inputs.execution import DEVICES
    from onnxspace.inputs.methods import BASELINES

    for option, choices in (("method", tuple(METHODS)), ("device", DEVICES)):
        declared = next(p for p in score.params if p.name == option)
        assert isinstance(declared.type, click.Choice)
        assert tuple(declared.type.choices) == choices
    for option, words in (("device", DEVICES), ("baseline", BASELINES)):
        row = next(line for line in section("Commands").splitlines() if line.startswith(f"| `--{option}"))
        assert set(words) <= set(re.findall(r"`([a-z-]+)`", row))


def test_the_table_of_methods_is_the_registry() -> None:
    """Names in its order, the options of each, and what a map costs."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section("Methods").splitlines() if line.startswith("| `")][1:]
    assert [row[0].strip(" `") for row in rows] == list(METHODS)
    for row, spec in zip(rows, METHODS.values(), strict=True):
        assert re.findall(r"`--([a-z]+)`", row[3]) == list(spec.options)
        several = [name for name in spec.options if name in ("steps", "samples", "units")]
        assert re.findall(r"`--([a-z]+)`", row[2]) == several


def test_the_defaults_in_the_table_are_those_of_the_library() -> None:
    from onnxspace.attribution.lrp import RULE_SETS
    from onnxspace.inputs.methods import Settings

    for name in ("steps", "samples", "noise", "units"):
        row = next(line for line in section("Commands").splitlines() if line.startswith(f"| `--{name}"))
        assert row.endswith(f"; {getattr(Settings(), name)} |")
    assert (RULE_SETS["elrp"].epsilon, RULE_SETS["lrp-epsilon"].epsilon, RULE_SETS["lrp-gamma"].gamma) == (1e-4, 1e-6, 0.25)
    assert (RULE_SETS["lrp-alpha-beta"].alpha, RULE_SETS["lrp-alpha-beta"].beta) == (2, 1)


def test_the_explain_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "photo.jpg")
    line = next(block for block in blocks("sh") if "onnxspace explain" in block)
    with pytest.raises(SystemExit) as stopped:
        main([*line.split()[1:], "--samples", "2"])
    assert not stopped.value.code
    assert (tmp_path / "maps.png").is_file()


def test_the_commands_of_the_space_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    for line in README.split("<!-- space -->")[1].split("```")[1].splitlines()[1:]:
        images = ["--images", "2"] if " create " in line else []
        with pytest.raises(SystemExit) as stopped:
            main([*line.split()[1:], *images])
        assert not stopped.value.code, line


def test_the_table_of_the_space_lists_every_command_and_its_options() -> None:
    rows = [
        re.split(r"(?<!\\)\|", line)[1:-1] for line in section("A space that grows").splitlines() if line.startswith("| `")
    ][1:]
    assert [row[0].split("`")[1].split()[0] for row in rows] == list(space.commands)
    for row in rows:
        command = space.commands[row[0].split("`")[1].split()[0]]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"`(-[a-z-]+)`", row[1])) <= options


def test_the_configuration_example_is_valid_and_complete(tmp_path: Path) -> None:
    from dataclasses import fields

    (tmp_path / "onnxspace.toml").write_text(blocks("toml")[0], "utf-8")
    options = load_config(tmp_path / "onnxspace.toml").models["resnet50"]
    elsewhere = ["bands", "frames", "still", "inputs"]  # docs/inputs.md
    keys = [f.name for f in fields(options) if f.name not in PROVENANCE]
    assert [name for name in keys if getattr(options, name) is None] == ["input", "pixels", *elsewhere]
    assert options.scale == pytest.approx(1 / 255)


def test_the_example_of_rules_is_valid(tmp_path: Path) -> None:
    from onnxspace.attribution.lrp import find_rule_set

    (tmp_path / "onnxspace.toml").write_text(blocks("toml")[1], "utf-8")
    rules = load_config(tmp_path / "onnxspace.toml").rules
    assert find_rule_set("elrp", rules["elrp"]).epsilon == 1e-3


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photos/black.png")
    for number in range(12):
        (tmp_path / "labelled" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "labelled" / "ab"[number % 2] / f"{number}.png")
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    assert names["maps"].shape == (64, 224, 224)
    assert names["result"].names == ("a", "b")
    assert names["other"].shape == (64, 224, 224)
    assert (tmp_path / "maps.png").is_file()
    assert len(names["result"].rank("a").sources) == 1


def test_both_labelled_blocks_are_there_for_ci() -> None:
    for label in ("main job", "tests"):
        assert len(re.findall(rf"<!-- {label} -->\s*```sh\n", README)) == 1


def test_links_lead_to_files() -> None:
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert len(targets) >= 3
    for target in targets:
        assert (REPOSITORY / target).exists(), target


def test_the_sample_is_what_the_program_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Same words; numbers within a hundredth, since another processor rounds otherwise."""
    from onnxspace.cli import main

    monkeypatch.chdir(REPOSITORY)
    sample = blocks("text")[0].split("\n")
    names = re.findall(r"score models/\{([a-z,-]+)\}\.onnx", README)[0].split(",")
    with pytest.raises(SystemExit) as stopped:
        main(["score", *(f"models/{name}.onnx" for name in names), "--quiet"])
    assert not stopped.value.code
    number = re.compile(r"-?\d\.\d{3}")
    for said, printed in zip(sample, capsys.readouterr().out.split("\n"), strict=False):
        if "." not in said[:6]:  # ranks of equals may change places
            assert number.sub("", said).split() == number.sub("", printed).split()
            np.testing.assert_allclose(
                [float(n) for n in number.findall(printed)], [float(n) for n in number.findall(said)], atol=0.01
            )


def test_the_table_of_operators_is_the_registrys() -> None:
    from onnxspace.torchgraph.support import render_page

    assert (REPOSITORY / "docs/operators.md").read_text("utf-8") == render_page()


def test_configuration_of_other_inputs_is_valid(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/inputs.md").read_text("utf-8")
    np.save(tmp_path / "mask.npy", np.zeros((1, 1, 4, 4)))
    (tmp_path / "onnxspace.toml").write_text("\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)), "utf-8")
    models = load_config(tmp_path / "onnxspace.toml").models
    assert (models["landcover"].bands, models["x3d"].still) == ((2, 1, 0), True)
    assert set(models["unet"].inputs or ()) == {"timestep", "mask", "token_ids"}
    assert all(f"`{axes}`" in text for axes in AXES)
