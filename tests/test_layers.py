"""The house stands: every file imports only from its own group or from groups above it, and nothing dangerous."""

import ast
from pathlib import Path

import pytest

import sciml

PACKAGE = Path(sciml.__file__).parent

GROUPS = (
    ("the ground", ("errors", "settings", "device", "cells")),
    ("what must hold", ("domain", "conditions", "data", "problem", "unknown", "elementary", "derivatives")),
    ("who answers", ("nets",)),
    ("how badly it is violated", ("sampling", "slabs", "objective", "jacobian")),
    ("how it is trained", ("optim", "train")),
    ("what comes out", ("labelled", "reference", "solution", "figures", "checks", "uncertainty", "solve", "dynamics")),
    ("one run", ("runs",)),
    ("many runs", ("batch",)),
    ("the command line", ("cli", "__main__")),
)
LEVEL = {room: level for level, (_, rooms) in enumerate(GROUPS) for room in rooms}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py" and "_shipped" not in path.parts)

FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "pty"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {
    *(("os", name) for name in ("fork", "forkpty", "system", "popen")),
    *(("subprocess", name) for name in ("getoutput", "getstatusoutput")),
    *(("builtins", name) for name in FORBIDDEN_CALLS),
}
WITHOUT_JAX = (
    "__init__",
    "__main__",
    "cli",
    "errors",
    "settings",
    "domain",
    "runs/config",
    "runs/catalog",
    "runs/overrides",
    "runs/mistakes",
    "runs/jsonl",
    "runs/lock",
    "runs/lease",
    "runs/commands",
    *(
        f"batch/{name}"
        for name in (
            *("axes", "space", "settings", "propose", "plan", "state", "trials", "search", "status", "table", "load", "sweep"),
            *("attempt", "engines", "slurm", "ending", "check", "under_way"),
        )
    ),
)


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree):
    """(imported module, line) of every import, wherever it stands, except for those that only a type checker sees."""
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import with its full name"
            if node.module == "sciml":
                yield from ((f"sciml.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_from_above(path):
    room = room_of(path)
    assert room in LEVEL, f"{room} has no group yet: add it to GROUPS here and to section 2 of docs/design.md"
    wrong = []
    for module, line in imports(ast.parse(path.read_text())):
        parts = module.split(".")
        target = parts[1] if parts[0] == "sciml" and len(parts) > 1 else None
        if target in LEVEL and LEVEL[target] > LEVEL[room]:
            wrong.append(f"line {line}: {GROUPS[LEVEL[room]][0]!r} must not import {module} from {GROUPS[LEVEL[target]][0]!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_dangerous(path):
    found = dangers(ast.parse(path.read_text()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from yaml import load",
        "import cloudpickle as c",
        "eval(x)",
        "exec(x)",
        "import builtins; builtins.eval(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.Popen(x, shell=some)",
        "subprocess.getoutput(x)",
        "numpy.load(x, allow_pickle=True)",
        "os.system(x)",
    ],
)
def test_what_is_dangerous_is_seen(text):
    assert dangers(ast.parse(text))


def dangers(tree):
    wrong = [f"line {line}: import {module}" for module, line in imports(tree) if module.split(".")[0] in FORBIDDEN_IMPORTS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                wrong.append(f"line {node.lineno}: {node.func.id}()")
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                    wrong.append(f"line {node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}")
        elif isinstance(node, ast.Attribute) and (ast.unparse(node.value), node.attr) in FORBIDDEN_ATTRIBUTES:
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    return wrong


@pytest.mark.parametrize("path", [*FILES, PACKAGE / "__init__.py"], ids=name_of)
def test_first_line_says_why_the_file_exists(path):
    text = path.read_text()
    assert text.lstrip("r").startswith('"""'), f"{path}: begin with a docstring of one line that says why the file exists"


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_what_must_start_fast_imports_no_jax_at_the_top(name):
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    heavy = {"jax", "optuna", "equinox", "flax", "optax", "diffrax", "scipy", "numpy", "matplotlib", "xarray"}
    found = {module.split(".")[0] for module, _ in imports(top)}
    assert not found & heavy
