"""Finds problems and configs by name: in a directory that the user names, in ./problems, in the checkout, in the installed package."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from sciml.errors import ConfigError, ProblemError, RunError, ScimlError, failing_frame, suggest

if TYPE_CHECKING:
    from sciml.dynamics.problem import Dynamics
    from sciml.problem import Problem

NAME = r"^[a-z][a-z0-9_]{0,63}$"
BASES = ("sciml.Problem", "Problem", "sciml.Dynamics", "Dynamics")
PACKAGE = Path(__file__).resolve().parent.parent


class Root(NamedTuple):
    """Two directories that belong together."""

    problems: Path
    configs: Path


class Entry(NamedTuple):
    """A problem or a config that can be run by name."""

    name: str
    path: Path
    summary: str


class Outline(NamedTuple):
    """What the text of a problem's file says without being run."""

    summary: str
    coefficients: tuple[str, ...]
    required: tuple[str, ...]
    complete: bool
    """False where a base class from another file may add coefficients."""


def roots(problems: Path | None = None) -> tuple[Root, ...]:
    """Where to look, first to last. `problems` may hold configs beside its problems. Raises `ConfigError` if it does not exist."""
    found = []
    if problems is not None:
        if not problems.is_dir():
            raise ConfigError(f"--problems {problems}: there is no such directory")
        found.append(Root(problems.resolve(), problems.resolve()))
    here = Path("problems").resolve()
    if here.is_dir():
        found.append(Root(here, here))
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "problems").is_dir():
        found.append(Root(checkout / "problems", checkout / "configs"))
    shipped = PACKAGE / "_shipped"
    if shipped.is_dir():
        found.append(Root(shipped / "problems", shipped / "configs"))
    return tuple(found)


def list_problems(problems: Path | None = None) -> list[Entry]:
    """All problems that can be run by name, sorted; the summary is the first line of the class's docstring."""
    files = _files([root.problems for root in roots(problems)], ".py")
    return [Entry(name, path, _summary(path)) for name, path in sorted(files.items())]


def list_configs(problems: Path | None = None) -> list[Entry]:
    """The configs whose name is not a problem's, sorted; the summary is the comment that opens the file, or the problem."""
    searched = roots(problems)
    known = _files([root.problems for root in searched], ".py")
    files = _files([root.configs for root in searched], ".toml")
    return [Entry(name, path, _config_summary(path)) for name, path in sorted(files.items()) if name not in known]


def list_sweeps(problems: Path | None = None) -> list[Entry]:
    """The sweeps that can be made by name, sorted; the summary is the comment that opens the file."""
    files = _files([root.configs / "sweeps" for root in roots(problems)], ".toml")
    return [Entry(name, path, _config_summary(path)) for name, path in sorted(files.items())]


def available(problems: str | Path | None = None) -> dict[str, list[Entry]]:
    """What can be run by name: the entries of each `problem`, `config` and `sweep`, with `name`, `path` and `summary`.

    `problems` is a folder to look in first, as `--problems`.
    """
    folder = None if problems is None else Path(problems)
    return {"problem": list_problems(folder), "config": list_configs(folder), "sweep": list_sweeps(folder)}


def find_problem(name: str, problems: Path | None = None) -> Path:
    """The file of the problem `name`. Raises `ConfigError` that names the closest one."""
    places = [root.problems for root in roots(problems)]
    path = _find(name, places, ".py")
    if path is None:
        raise ConfigError(f"there is no problem '{name}'; {suggest(name, sorted(_files(places, '.py')))}")
    return path


def find_config(name: str, problems: Path | None = None) -> Path | None:
    """The file of the config `name`; `None` where there is only a problem of that name. Raises `ConfigError` for neither."""
    searched = roots(problems)
    path = _find(name, [root.configs for root in searched], ".toml")
    if path is None and _find(name, [root.problems for root in searched], ".py") is None:
        known = _files([root.problems for root in searched], ".py") | _files([root.configs for root in searched], ".toml")
        if any(entry.name == name for entry in list_sweeps(problems)):
            raise ConfigError(f"'{name}' is a sweep; `sciml sweep {name}` makes its runs")
        raise ConfigError(f"there is no config or problem '{name}'; {suggest(name, sorted(known))}")
    return path


def name_of(text: str) -> str:
    """`text` made into a name that a run can have: "Hare-lynx 2" becomes "hare_lynx_2"."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:64]
    return name if re.fullmatch(NAME, name) else f"series_{name}".rstrip("_")[:64]


def problem_source(name: str, problems: Path | None = None) -> str:
    """The text of the problem's file, with line ends as newlines."""
    return _read(find_problem(name, problems))


def source_hash(name: str, problems: Path | None = None) -> str:
    """The SHA-256 of the problem's text."""
    return hashlib.sha256(problem_source(name, problems).encode()).hexdigest()


def new_problem(name: str, problems: str | Path = "problems") -> Path:
    """Write `problems`/NAME.py from the template, ready to be edited and run, and return its path.

    Raises `ConfigError` for what is not a name and for a file that exists, `RunError` where nothing can be written.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"'{name}' is not a name (a lower-case letter, then letters, digits or _, at most 64); for example my_problem")
    path = Path(problems) / f"{name}.py"
    text = new_problem_text(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if path.exists():
            raise ConfigError(f"{path} exists and stays as it is; choose another name") from error
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def new_problem_text(name: str) -> str:
    """The template of a problem's file, its class renamed after `name`."""
    for root in roots():
        path = root.problems / "_template.py"
        if path.is_file():
            text = _read(path).replace("your_name", name)
            return re.sub(r"^class \w+(?=\()", f"class {_class_name(name)}", text, count=1, flags=re.MULTILINE)
    raise ConfigError("problems/_template.py is missing from this installation; type: pip install --force-reinstall sciml-jax")


def parameter_mistakes(name: str, parameters: Mapping[str, object], problems: Path | None = None) -> list[str]:
    """What is wrong with a config's problem and its parameters, as far as the problem's text tells; runs nothing."""
    try:
        path = find_problem(name, problems)
        outline = outline_problem(path)
    except ConfigError as error:
        return error.mistakes
    if not outline.complete or not isinstance(parameters, Mapping):
        return []
    return _parameter_mistakes(parameters, outline.coefficients, outline.required, path.stem)


def outline_problem(path: Path) -> Outline:
    """Reads a problem's file as text. Raises `ProblemError` with the line where it is not Python."""
    classes = {node.name: node for node in _parse(path).body if isinstance(node, ast.ClassDef)}
    public = [node for name, node in classes.items() if not name.startswith("_") and node.bases]
    if not public:
        return Outline("", (), (), complete=False)
    chain, complete = _ancestry(public[-1], classes)
    coefficients = {name: value for node in reversed(chain) for name, value in _coefficients(node)}
    required = tuple(name for name, has_default in coefficients.items() if not has_default)
    summary = (ast.get_docstring(public[-1]) or "").partition("\n")[0]
    return Outline(summary, tuple(coefficients), required, complete)


def is_dynamics(name: object, problems: Path | None = None) -> bool:
    """Whether the problem `name` is a `sciml.Dynamics`, as far as its text tells; runs nothing."""
    path = _find(name, [root.problems for root in roots(problems)], ".py") if isinstance(name, str) else None
    if path is None:
        return False
    try:
        classes = [node for node in _parse(path).body if isinstance(node, ast.ClassDef)]
    except ProblemError:
        return False  # `outline_problem` says what is wrong
    return any(ast.unparse(base).rpartition(".")[2] == "Dynamics" for node in classes for base in node.bases)


def load_problem(name: str, parameters: Mapping[str, float] | None = None, problems: Path | None = None) -> Any:
    """An instance of the problem `name`, a `Problem` or a `Dynamics`. Runs its file; imports JAX.

    Raises `ConfigError` for unknown parameters and `ProblemError` for a file that fails or has not exactly one public problem.
    """
    path = find_problem(name, problems)
    cls = _problem_class(_import(path), path)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    missing = dataclasses.MISSING
    required = [field.name for field in fields if field.default is missing and field.default_factory is missing]
    mistakes = _parameter_mistakes(parameters or {}, [field.name for field in fields], required, name)
    whole = {field.name for field in fields if field.type in (int, "int")}
    mistakes += _fractions(parameters or {}, whole, name)
    if mistakes:
        raise ConfigError(mistakes)
    try:
        return cls(**{key: int(value) if key in whole else value for key, value in (parameters or {}).items()})
    except ScimlError:
        raise
    except Exception as error:
        raise ProblemError(f"{path}: {cls.__name__} cannot be built: {type(error).__name__}: {error}") from error


def _problem_class(module: ModuleType, path: Path) -> type[Problem | Dynamics]:
    from sciml.dynamics.problem import Dynamics
    from sciml.problem import Problem

    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Problem | Dynamics) and value.__module__ == module.__name__ and name[0] != "_"
    ]
    if not found:
        raise ProblemError(f"{path}: there is no problem in it; write `class {_class_name(path.stem)}(sciml.Problem): ...`")
    if len(found) > 1:
        names = ", ".join(cls.__name__ for cls in found)
        raise ProblemError(f"{path}: one file holds one problem, but this one has {names}; let all but one begin with an underscore")
    return found[0]


def _import(path: Path) -> ModuleType:
    module_name = f"sciml_problem_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ProblemError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except ScimlError:
        raise
    except Exception as error:
        raise ProblemError(f"{path}{_failing_line(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _failing_line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    frame = failing_frame(error, str(path))
    return f" line {frame.lineno}" if frame else ""


def _parameter_mistakes(
    given: Mapping[str, object], known: tuple[str, ...] | list[str], required: tuple[str, ...] | list[str], problem: str
) -> list[str]:
    unknown = [
        f"parameters.{name}: the problem {problem} has no such coefficient; {suggest(name, list(known))}"
        for name in given
        if name not in known
    ]
    missing = [
        f"parameters.{name}: the problem {problem} needs it; write [parameters] with {name} = 1.0 below it, or --set parameters.{name}=1.0"
        for name in required
        if name not in given
    ]
    return unknown + missing


def _fractions(given: Mapping[str, float], whole: Container[str], problem: str) -> list[str]:
    """A config holds floating-point numbers; where a problem says `int` they must be whole."""
    return [
        f"parameters.{name}: the problem {problem} needs a whole number, but this is {value:g}; try {round(value)}"
        for name, value in given.items()
        if name in whole and not float(value).is_integer()
    ]


def _files(places: list[Path], suffix: str) -> dict[str, Path]:
    names = {path.stem for place in places if place.is_dir() for path in place.glob(f"*{suffix}")}
    return {name: path for name in names if (path := _find(name, places, suffix))}


def _find(name: str, places: list[Path], suffix: str) -> Path | None:
    if not re.fullmatch(NAME, name):
        return None
    for place in places:
        path = place / f"{name}{suffix}"
        if path.is_file():
            if not path.resolve().is_relative_to(place.resolve()):
                raise ConfigError(f"{path} is a link to a file outside {place}; copy the file there instead")
            return path
    return None


def _ancestry(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> tuple[list[ast.ClassDef], bool]:
    """The class and its bases within the file, and whether all of them end in `Problem` or `Dynamics`."""
    chain, complete = [node], True
    for base in node.bases:
        name = ast.unparse(base)
        if name in classes and classes[name] is not node:
            inherited, inherited_complete = _ancestry(classes[name], {k: v for k, v in classes.items() if v is not node})
            chain += inherited
            complete = complete and inherited_complete
        elif name not in BASES:
            complete = False
    return chain, complete


def _coefficients(node: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" not in ast.unparse(statement.annotation):
            yield statement.target.id, statement.value is not None


def _summary(path: Path) -> str:
    try:
        return outline_problem(path).summary
    except ProblemError as error:
        return f"cannot be read: {error}"


def _config_summary(path: Path) -> str:
    text = _read(path)
    if text.startswith("#"):
        return text.partition("\n")[0].removeprefix("#").strip()
    try:
        return f"problem {tomllib.loads(text).get('problem', '?')}"
    except ValueError as error:
        return f"cannot be read: {error}"


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(_read(path), str(path))
    except (SyntaxError, ValueError) as error:
        raise ProblemError(f"{path}{_failing_line(error, path)}: not Python: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
