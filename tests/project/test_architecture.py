"""CONTRIBUTING.md and docs/architecture.md name what exists; names, sizes and signatures keep the house rules.

Each test reports all violations at once.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import onnxspace
from tests.helpers.paths import REPOSITORY

PAGES = ("CONTRIBUTING.md", "docs/architecture.md")
ROOTS = (REPOSITORY / "onnxspace", REPOSITORY / "converters")
#: Words that say nothing before the code is read. They name nothing, not even as a part of a name, except in yes–no questions.
BANNED = {"known", "told", "said", "made", "found", "taken", "sure", "shown", "put", "settle", "agreed", "besides"}
#: These say something beside another word only, as in `FileFacts` and `log_evidence`.
BANNED_ALONE = BANNED | {"desk", "wanted", "evidence", "lineup", "halves", "twins", "facts", "carry"}
#: Names that break the rule, and why.
ALLOWED = {
    "known_activations": "the activations that ONNX has an operator for, against those that only have a formula",
    "known_option": "the option --known",
    "read_known_table": "the option --known",
    "known_ranks": "the option --known",
    "ModelNotFoundError": "public, and named as Python's ModuleNotFoundError is",
    "Facts": "public as onnxspace.exporters.Facts",
}
MOST_PARAMETERS, MOST_MODULES, MOST_LINES = 7, 6, {"CONTRIBUTING.md": 250, "docs/architecture.md": 200}
#: Functions that are public beside those of `onnxspace.__all__`, and what Torch calls.
PUBLIC = {"fingerprint_file", "evaluate", "forward"}
#: Where methods, and functions that are nested in a converter, are called with a node's inputs in order, as `forward` is.
OPERATORS = "onnxspace/torchgraph/operators/"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def modules(*roots: Path) -> list[Path]:
    return sorted(path for root in roots or ROOTS for path in root.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def read_page(page: str) -> str:
    return (REPOSITORY / page).read_text("utf-8")


def code_spans(page: str) -> list[str]:
    """Code spans of a page, without its code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", read_page(page), flags=re.S))


def commands(page: str) -> list[str]:
    """The command lines of a page: spans, and lines of its shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", read_page(page), re.S)
    lines = [*code_spans(page), *(line for block in blocks for line in block.splitlines())]
    return [line for line in lines if line.startswith((".venv/bin/", ".ci/"))]


@cache
def defined_names() -> frozenset[str]:
    """Classes, functions, fields and module-level names of the packages and of the tests' helpers; methods as `Class.name`."""
    names: set[str] = set()
    for path in modules(*ROOTS, REPOSITORY / "tests"):
        for node in ast.walk(parse_tree(path)):
            if isinstance(node, ast.ClassDef):
                inside = [*names_defined_in(node)]
                names |= {node.name, *inside, *(f"{node.name}.{name}" for name in inside)}
            elif isinstance(node, ast.Module):
                names |= {*names_defined_in(node)}
            elif isinstance(node, Function):
                names |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    return frozenset(names)


def names_defined_in(node: ast.ClassDef | ast.Module) -> Iterator[str]:
    for part in node.body:
        if isinstance(part, (Function, ast.ClassDef)):
            yield part.name
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id
        elif isinstance(part, ast.Assign):
            yield from (name.id for target in part.targets for name in ast.walk(target) if isinstance(name, ast.Name))


#: Spans that look like a name of the code and are none: placeholders, Python's, Torch's.
NO_NAMES = {
    "DeprecationWarning",
    "NotImplementedError",
    "TYPE_CHECKING",
    "GraphModule",
    "ONNXSPACE_CACHE",
    "ignore_missing_imports",
}


def is_defined(span: str) -> bool:
    """Whether a span that has the form of a class, a constant or a compound name is one."""
    name = re.sub(r"\(.*\)$", "", span)
    return name in NO_NAMES or name in defined_names() or name.startswith("__")


def path_exists(span: str) -> bool:
    """Whether a path of the repository, one inside onnxspace/, or a module's file name alone exists."""
    if "/" not in span and span.endswith(".py"):
        return any(path.name == span for path in modules())
    return (REPOSITORY / span).exists() or (REPOSITORY / "onnxspace" / span).exists()


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_pages_name_exist(page: str) -> None:
    spans = {span for span in code_spans(page) if re.fullmatch(r"[\w.-]*/[\w./-]*|[\w-]+\.(py|md|toml)", span)}
    spans -= {"onnxspace.toml", "zoo.space/", ".venv"}
    spans |= {
        word for line in commands(page) for word in shlex.split(line)[1:] if re.fullmatch(r"(tests|docs|benchmarks)/\S+", word)
    }
    assert len(spans) > 25
    assert sorted(span for span in spans if not path_exists(span)) == []


@pytest.mark.parametrize("page", PAGES)
def test_names_that_pages_use_exist(page: str) -> None:
    form = r"_?[A-Z]\w*[a-z]\w*(\.\w+)?|[A-Z]{2,}[A-Z_]+|[a-z]+(_[a-z]+)+|_[a-z]\w+"
    spans = {span for span in code_spans(page) if re.fullmatch(form, re.sub(r"\(.*\)$", "", span))}
    spans -= {"onnxspace_converters"}
    assert len(spans) > 25
    assert sorted(span for span in spans if not is_defined(span)) == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short_and_their_links_lead_to_files(page: str) -> None:
    text = read_page(page)
    assert len(text.splitlines()) <= MOST_LINES[page]
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert [target for target in targets if not ((REPOSITORY / page).parent / target).exists()] == []


def test_commands_that_pages_name_exist() -> None:
    scripts = {"pip", "pytest", "ruff", "mypy", "lint-imports", "python", "onnxspace"}
    first = {line.split()[0] for page in PAGES for line in commands(page)}
    assert first == {f".venv/bin/{name}" for name in scripts} | {
        *(
            ".ci/run",
            ".ci/light",
            ".ci/docs",
            ".ci/frameworks",
            ".ci/fuzz",
            ".ci/exhaustive",
            ".ci/package",
            ".ci/pyright",
            ".ci/release.py",
        )
    }
    run = {match[1] for page in PAGES for line in commands(page) if (match := re.search(r"python -m (\S+)", line))}
    run -= {"venv", "pytest"}
    assert run == {"onnxspace.torchgraph.support", "onnxspace.scores.page", "tests.helpers.backend"}
    for name in run:
        assert 'if __name__ == "__main__":' in (REPOSITORY / f"{name.replace('.', '/')}.py").read_text("utf-8")


def test_commands_of_onnxspace_that_pages_name_have_these_options() -> None:
    from click import Group

    from onnxspace.cli.commands import convert, explain, inspect, score, transfer

    modules_by_name: dict[str, object] = {
        m.__name__.rpartition(".")[2]: m for m in (convert, explain, inspect, score, transfer)
    }
    wrong = []
    for page in PAGES:
        for line in commands(page):
            words = line.split()
            if words[0] == ".venv/bin/onnxspace":
                command = getattr(modules_by_name[words[1]], words[1])
                assert not isinstance(command, Group)
                options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
                wrong += [f"{line}: {word}" for word in words if word.startswith("-") and word not in options]
    assert wrong == []


def test_excerpts_are_in_their_files() -> None:
    excerpts = re.findall(r"<!-- excerpt: (\S+) -->\n```python\n(.*?)```", read_page("CONTRIBUTING.md"), re.S)
    assert len(excerpts) == 1
    assert [path for path, text in excerpts if text not in (REPOSITORY / path).read_text("utf-8")] == []


def test_examples_of_the_architecture_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What they print is what the comments at the end of the lines say."""
    blocks = re.findall(r"```python\n(.*?)```", read_page("docs/architecture.md"), re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, {})
        printed = capsys.readouterr().out.strip()
        assert printed
        assert f"# {printed}" in block


def test_every_package_is_in_the_table_and_says_why_it_is_one() -> None:
    folders = [path.parent for path in modules() if path.name == "__init__.py"]
    page = read_page("docs/architecture.md")
    unnamed = [relative(folder) for folder in folders[1:] if f"`{relative(folder)}/`" not in page]
    assert unnamed == []
    imports = {"onnxspace/torchgraph/operators", "onnxspace/attribution/lrp", "onnxspace"}
    short = []
    for folder in folders:
        text = ast.get_docstring(parse_tree(folder / "__init__.py")) or ""
        if relative(folder) not in imports and len(re.split(r"\.\s", text)) < 2:
            short.append(relative(folder))
    assert short == []


def split_words(name: str) -> list[str]:
    """`read_FileFacts` → read, file, facts."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def is_banned(name: str) -> bool:
    words = split_words(name)
    if name in ALLOWED or not words:
        return False
    return (len(words) == 1 and words[0] in BANNED_ALONE) or (words[0] != "is" and bool(BANNED.intersection(words)))


def test_no_module_function_or_class_has_a_banned_name() -> None:
    wrong = [relative(path) for path in modules() if is_banned(path.stem)]
    wrong += [relative(folder) for root in ROOTS for folder in root.rglob("*") if folder.is_dir() and is_banned(folder.name)]
    used = set()
    for path in modules():
        names = [node.name for node in ast.walk(parse_tree(path)) if isinstance(node, (Function, ast.ClassDef))]
        wrong += [f"{relative(path)}: {name}" for name in names if is_banned(name)]
        used |= {path.stem, *names}
    assert sorted(wrong) == []
    assert set(ALLOWED) <= used, "exceptions that nothing needs any more"


def test_few_modules_lie_directly_in_the_package() -> None:
    names = {path.name for path in ROOTS[0].glob("*.py")}
    assert len(names) <= MOST_MODULES, sorted(names)


def count_parameters(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")])


def functions(node: ast.AST, owner: str = "", nested: bool = False) -> Iterator[tuple[Function, str, bool]]:
    """Every function in a tree, with its class, and whether another function contains it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield child, owner, nested
            yield from functions(child, owner, True)
        else:
            yield from functions(child, child.name if isinstance(child, ast.ClassDef) else owner, nested)


def is_command(function: Function) -> bool:
    """Whether a function is a click command: its parameters are options."""
    return any(".command" in ast.unparse(one) or "click." in ast.unparse(one) for one in function.decorator_list)


def is_public(path: Path, function: Function, owner: str, nested: bool) -> bool:
    if relative(path).startswith(OPERATORS) and (nested or owner):  # its parameters are the inputs of an operator
        return True
    public = function.name in PUBLIC or function.name in onnxspace.__all__
    return public or owner in onnxspace.__all__ or is_command(function)


def test_no_private_function_has_many_parameters() -> None:
    wrong = [
        f"{relative(path)}:{function.lineno}: {function.name} has {count_parameters(function)}"
        for path in modules()
        for function, owner, nested in functions(parse_tree(path))
        if count_parameters(function) > MOST_PARAMETERS and not is_public(path, function, owner, nested)
    ]
    assert wrong == []
