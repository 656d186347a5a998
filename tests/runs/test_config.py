"""A config is read whole, its mistakes are told at once and in words, and TOML carries it without loss."""

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.errors import ConfigError
from sciml.runs import catalog
from sciml.runs.build import load_subject
from sciml.runs.config import (
    SCHEMA_VERSION,
    DiscoveryConfig,
    Execution,
    ProblemConfig,
    Stop,
    dump_config,
    json_schema,
    load_config,
    parse_config,
    run_name,
)
from sciml.settings import LBFGS, Adam, Broyden, LineSearch, Network, Noise, Plateau, Points

CONFIGS = sorted((catalog.PACKAGE.parent / "configs").glob("*.toml"))

names = st.from_regex(catalog.NAME, fullmatch=True)
keys = st.text(min_size=1, max_size=20)
positive = st.floats(min_value=1e-300, max_value=1e300)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(1, 10**9)


def maybe(strategy):
    return st.none() | strategy


plateaus = st.builds(Plateau, window=st.integers(10, 10**6), improvement=st.floats(1e-9, 0.999))
triggers = st.builds(Noise, threshold=positive, patience=counts, window=st.integers(8, 10**6)) | plateaus
searches = st.builds(LineSearch, decrease=st.floats(1e-12, 0.499), curvature=st.floats(1e-12, 0.999), evaluations=st.integers(2, 99))
phases = (
    st.builds(Adam, steps=counts, learning_rate=positive, clip=maybe(positive), until=st.lists(triggers, max_size=2).map(tuple))
    | st.builds(LBFGS, steps=counts, memory=counts, line_search=searches, until=st.lists(plateaus, max_size=2).map(tuple))
    | st.builds(Broyden, steps=counts, redraw=st.integers(0, 10**6))
)
configs = st.builds(
    ProblemConfig,
    problem=names,
    parameters=st.dictionaries(keys, finite, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    precision=st.sampled_from(["float64", "float32"]),
    network=st.builds(Network, width=counts, activation=st.sampled_from(["tanh", "sin"]), fourier_scale=positive),
    points=st.builds(Points, interior=st.integers(32, 10**7)),
    weights=st.dictionaries(keys, st.floats(0, allow_infinity=False), max_size=3),
    phases=st.just("auto") | st.lists(phases, min_size=1, max_size=3).map(tuple),
    stop=st.builds(Stop, target_error=maybe(positive)),
    warm_start=maybe(st.text(min_size=1)),
    log_every=counts,
    execution=st.builds(Execution, threads=maybe(counts), block=maybe(counts), wall_limit=maybe(positive), step_limit=maybe(counts)),
)


def mistakes(data, overrides=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "test.toml", overrides)
    assert caught.value.exit_code == 2
    return caught.value.mistakes


@given(configs)
def test_toml_carries_a_config_without_loss(config):
    text = dump_config(config)
    document = tomllib.loads(text)
    again = ProblemConfig.model_validate(document)
    assert again == config
    assert dump_config(again) == text
    assert run_name(again, "source", {}) == run_name(config, "source", {})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_reads_back(path):
    config = load_config(path)
    assert parse_config(tomllib.loads(dump_config(config))) == config


def test_there_are_configs():
    assert {"fisher_kpp", "fisher_kpp_lbfgs", "fisher_kpp_flax", "burgers", "allen_cahn"} <= {path.stem for path in CONFIGS}


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["auto", "adam", "{}", "[]", "nan", "1e400"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "steps", "until", "x"]), inner, max_size=3),
    max_leaves=6,
)
paths = st.sampled_from(
    ["seed", "network", "network.width", "network.x", "phases", "phases.0.steps", "phases.0.until.0.kind", "points.interior", "weights.a"]
    + ["stop.target_error", "execution.threads", "problem", "parameters", "parameters.D", "schema_version", "warm_start", "log_every"]
)


@given(st.lists(st.text(max_size=30) | st.builds(lambda path, value: f"{path}={value}", paths, values | st.text(max_size=10)), max_size=4))
def test_overrides_give_a_config_or_a_config_error(overrides):
    try:
        config = load_config("fisher_kpp", overrides)
    except ConfigError as error:
        assert error.mistakes
        assert all(text and "\x1b" not in text and len(text) < 2000 for text in error.mistakes)
    else:
        assert parse_config(tomllib.loads(dump_config(config))) == config


@given(st.dictionaries(st.sampled_from([*ProblemConfig.model_fields, "stray"]), values, max_size=5))
def test_documents_give_a_config_or_a_config_error(document):
    try:
        parse_config(document)
    except ConfigError as error:
        assert error.mistakes


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_files_give_a_config_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "any.toml"
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as error:
        assert str(path) in str(error)


def test_all_mistakes_are_listed_at_once():
    found = mistakes(
        {
            "problem": "fisher_kpp",
            "parameters": {"d": 0.1},
            "network": {"widht": 3, "depth": 0, "activation": "relu"},
            "phases": [{"kind": "adam", "steps": "many"}, {"kind": "sgd"}, {"steps": 3}],
            "weights": {"initial": math.inf},
            "threads": 2,
        }
    )
    text = "\n".join(found)
    for expected in (
        "parameters.d: the problem fisher_kpp has no such coefficient; known: D, r",
        "unknown key 'network.widht'; did you mean 'width'?",
        "network.depth = 0 must be at least 1; write for example network.depth = 3",
        'network.activation = "relu" does not exist; known: tanh, sin, swish, gelu',
        'phases.0.steps = "many" is not a whole number; write for example phases.0.steps = 1000',
        'phases.1.kind = "sgd" does not exist; known: adam, lbfgs, broyden',
        'phases.2 does not say its kind; write for example phases.2 = {kind = "adam"}',
        "weights.initial = inf is not a finite number",
        "unknown key 'threads'; did you mean 'execution.threads'?",
    ):
        assert expected in text
    assert len(found) == 9


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "'problem' is missing; write for example problem = \"fisher_kpp\""),
        ({"problem": "fisher_kp"}, "there is no problem 'fisher_kp'; did you mean 'fisher_kpp'?"),
        ({"problem": "../../etc/passwd"}, 'problem = "../../etc/passwd" is not a name'),
        ({"problem": "fisher_kpp", "phases": []}, 'phases is empty; write for example phases = [{kind = "adam"}, {kind = "broyden"}]'),
        ({"problem": "fisher_kpp", "phases": "fast"}, 'phases = "fast" does not exist; known: auto'),
        ({"problem": "fisher_kpp", "seed": -1}, "seed = -1 must be at least 0"),
        ({"problem": "fisher_kpp", "seed": True}, "seed = true is not a whole number"),
        ({"problem": "fisher_kpp", "network": {"width": "20"}}, 'network.width = "20" is not a whole number'),
        ({"problem": "fisher_kpp", "weights": {"initial": -1.0}}, "weights.initial = -1.0 must be at least 0"),
        ({"problem": "fisher_kpp", "network": 3}, "network = 3 is not a table; write for example network = {width = 20}"),
        (
            {"problem": "fisher_kpp", "execution": {"device": "cuda"}},
            'execution.device = "cuda" does not exist; known: auto, cpu, gpu, tpu',
        ),
        ({"problem": "fisher_kpp", "parameters": {"D": math.nan}}, "parameters.D = nan is not a finite number"),
    ],
)
def test_one_mistake_is_one_sentence(data, expected):
    (text,) = mistakes(data)
    assert expected in text


def test_a_later_version_is_said_first_and_alone():
    (text,) = mistakes({"schema_version": SCHEMA_VERSION + 1, "problem": "fisher_kpp", "novelty": 3})
    assert "later sciml" in text
    assert "pip install --upgrade sciml-jax" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('problem = "a"\nnetwork.width 30\n', "line 2 (`network.width 30`)"),
        ("problem = fisher_kpp\n", "line 1 (`problem = fisher_kpp`)"),
        ('seed = 1\nseed = 2\nproblem = "a"', "Cannot overwrite a value"),
        ("seed = " + "9" * 5000, "not TOML"),
        ("phases = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml_shows_the_line(tmp_path, text, expected):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="broken.toml") as caught:
        load_config(path)
    assert expected in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="folder.toml"):
        load_config(tmp_path / "folder.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "binary.toml")


def test_overrides_are_toml_values_and_fall_back_to_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('problem = "fisher_kpp"\n[[phases]]\nkind = "adam"\n[[phases]]\nkind = "lbfgs"\n')
    config = load_config(
        path,
        [
            "phases.0.steps=2000",
            "network.width=30",
            "network.activation=sin",
            "parameters.D=2e-2",
            'warm_start="runs/a=b"',
            "phases.1.until=[]",
        ],
    )
    assert config.phases[0] == Adam(steps=2000)
    assert config.phases[1] == LBFGS(until=())
    assert config.network == Network(width=30, activation="sin")
    assert config.parameters == {"D": 0.02}
    assert config.warm_start == "runs/a=b"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("network.width", "is not of the form key.path=value"),
        ("=3", "is not of the form key.path=value"),
        ("phases.0.steps=3", "list the phases first"),
        ("seed.x=3", "seed = {x = 3} is not a whole number"),
        ("network.widht=3", "did you mean 'width'?"),
    ],
)
def test_an_override_that_fits_nowhere_says_so(override, expected):
    with pytest.raises(ConfigError) as caught:
        load_config("fisher_kpp", [override] if override != "phases.0.steps=3" else ["phases=auto", override])
    assert expected in str(caught.value)


def test_an_index_beyond_the_phases():
    with pytest.raises(ConfigError, match=r"there is no 'phases.5' in the config; 'phases' lists 1"):
        load_config("fisher_kpp", ["phases=[{kind='adam'}]", "phases.5.steps=3"])


def test_the_default_config_of_a_problem(user_problems):
    user_problems("mine", "import sciml\nclass Mine(sciml.Problem):\n    pass\n")
    assert load_config("mine", problems=user_problems.folder) == ProblemConfig(problem="mine")


def test_the_name_tells_what_defines_the_result():
    config = ProblemConfig(problem="fisher_kpp")
    name = run_name(config, "source", {"data.csv": "abc"})
    assert name == run_name(config, "source", {"data.csv": "abc"})
    assert name.startswith("fisher_kpp-")
    assert len(name) == len("fisher_kpp-") + 8
    same = [
        config.model_copy(update={"execution": Execution(threads=1, device="cpu", block=64, wall_limit=3.0)}),
        config.model_copy(update={"stop": Stop(target_error=1e-3)}),
    ]
    other = [
        config.model_copy(update=update)
        for update in (
            {"seed": 1},
            {"precision": "float32"},
            {"network": Network(width=21)},
            {"points": Points(interior=64)},
            {"weights": {"initial": 2.0}},
            {"parameters": {"D": 0.1}},
            {"phases": (Adam(),)},
            {"log_every": 50},
            {"warm_start": "runs/other"},
        )
    ]
    assert {run_name(each, "source", {"data.csv": "abc"}) for each in same} == {name}
    names = [run_name(each, "source", {"data.csv": "abc"}) for each in other]
    names += [run_name(config, "other source", {"data.csv": "abc"}), run_name(config, "source", {"data.csv": "abd"}), name]
    assert len(set(names)) == len(names)


def test_the_schema_describes_every_key():
    schema = json_schema()
    for kind in (ProblemConfig, DiscoveryConfig):
        found = schema["$defs"][kind.__name__]
        assert found["additionalProperties"] is False
        assert set(found["properties"]) == set(kind.model_fields)
        assert found["required"] == ["problem"]


def test_reading_a_config_by_path_or_text_is_the_same():
    path = Path(CONFIGS[0])
    assert load_config(path) == load_config(str(path)) == load_config(path.stem)


def test_the_kind_follows_from_the_problem_and_the_series(user_problems):
    user_problems("cycle", "import sciml\nclass Cycle(sciml.Dynamics):\n    pass\n")
    assert isinstance(load_config("cycle", problems=user_problems.folder), DiscoveryConfig)
    assert isinstance(load_config("hare_lynx"), DiscoveryConfig)
    assert isinstance(parse_config({"problem": "table", "series": {"file": "table.csv"}}), DiscoveryConfig)
    assert isinstance(load_config("fisher_kpp"), ProblemConfig)
    assert mistakes({"kind": "discovry", "problem": "hare_lynx"}) == ["kind = \"discovry\" does not exist; did you mean 'discovery'?"]


def test_mistakes_in_a_discovery():
    document = {
        "problem": "table",
        "series": {"file": "t.csv"},
        "vector_field": {"kind": "sparse", "dgree": 2},
        "network": {},
        "noise": "normal",
    }
    found = mistakes(document)
    assert len(found) == 3
    assert any("did you mean 'degree'?" in text for text in found)
    assert any("unknown key 'network'" in text for text in found)
    assert any('noise = "normal" does not exist' in text for text in found)


def test_the_place_of_a_table_does_not_name_a_run_but_its_content_does():
    here, there = (parse_config({"problem": "table", "series": {"file": file}}) for file in ("a/t.csv", "b/t.csv"))
    assert run_name(here, "", {"series": "1"}) == run_name(there, "", {"series": "1"})
    assert run_name(here, "", {"series": "1"}) != run_name(here, "", {"series": "2"})


def test_dates_of_a_table_are_counted_in_its_unit(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("date,x\n2026-01-30,1\n2026-02-02,2\n")
    config = parse_config({"problem": "table", "series": {"file": str(table), "unit": "d"}})
    assert load_subject(config, None).times[0].tolist() == [0, 3]
    assert mistakes({"problem": "table", "series": {"file": "t.csv", "unit": "weeks"}}) == [
        'series.unit = "weeks" does not exist; known: ms, s, min, h, d, y'
    ]


def test_time_slabs_belong_to_differential_equations(tmp_path) -> None:
    """A discovery would ignore them."""
    with pytest.raises(ConfigError, match="unknown key 'time_slabs'"):
        parse_config({"kind": "discovery", "problem": "hare_lynx", "time_slabs": 4})
    assert parse_config({"problem": "gray_scott_1d", "time_slabs": 4}).time_slabs == 4
