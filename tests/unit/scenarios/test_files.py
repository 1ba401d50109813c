"""The loader: what a good file becomes, and every mistake in a bad one with its line and key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.errors import ScenarioError
from runtime.model import FlowType, Limits, Step
from scenarios.files import COMPONENTS, load_catalogue, load_claims, load_scenario
from scenarios.model import Arrivals, Axes, Claim, Load, Profile, Scenario, Service, Target

DATA = Path(__file__).parents[2] / "data" / "scenarios"
GOOD = (DATA / "good.toml").read_text()


def problems(path: Path, components_root: Path = COMPONENTS) -> list[str]:
    """What the loader finds wrong, without the folder; nothing when it loads."""
    try:
        load_scenario(path, components_root)
    except ScenarioError as error:
        return [problem.replace(f"{path.parent}/", "") for problem in error.problems]
    return []


def test_a_file_that_says_everything() -> None:
    """Every key arrives in the scenario, converted to the unit that the field's name says."""
    expression = '{"sequence": sequence}'
    limits = Limits(memory_bytes=64 * 1024**2, cpus=0.5, pids=32)
    config = {"url": "http://${services.api}/delay", "nested": [{"retries": 2}]}
    assert load_scenario(DATA / "good.toml") == Scenario(
        name="good",
        title="Everything that a file can say",
        flow_type=FlowType.REALTIME,
        steps=(
            Step("source", "source", "tick"),
            Step("mapper", "mapper", "map", {"expression": expression}, 4, limits),
            Step("call", "http-call", "call", config),
        ),
        load=Load(Arrivals.POISSON, 0.5, 10, 2000),
        axes=Axes((2, 3, 5), (1024, 1024**2), (0.0, 1000.0)),
        profiles={"quick": Profile(2, 10), "full": Profile(30, 1000)},
        services=(Service("api", "delay-api", 8080),),
        variables={"region": "eu"},
        floor_per_start=True,
        drain_timeout_s=60.0,
        path=str(DATA / "good.toml"),
    )


def test_all_mistakes_of_a_file_are_found_at_once() -> None:
    """The whole list of a file with some thirty mistakes, word for word, in order of line."""
    components = Path(__file__).parents[3] / "scenarios" / "components"
    found = "\n".join(problems(DATA / "broken.toml", components))
    expected = (DATA / "broken.errors.txt").read_text()
    assert found.replace(str(components), "scenarios/components") + "\n" == expected


def test_the_error_names_the_file_and_counts() -> None:
    """What the user sees begins with the file and the number of problems."""
    with pytest.raises(ScenarioError, match=r"broken\.toml: \d\d problems found\n") as caught:
        load_scenario(DATA / "broken.toml")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('flow_type = "realtime"\n', "", "good.toml:1: flow_type: is missing; it must be"),
        ("[load]", "[[load]]", "good.toml:35: load: must be a table, as in [load], not an array"),
        ("[[steps]]", "[[step]]", "good.toml:1: steps: is missing; it must be an array of tables"),
        ("[[steps]]", "[[step]]", "good.toml:10: step: unknown key; did you mean 'steps'?"),
        ('function = "tick"', "function = true", "good.toml:13: steps[0].function: must be a str"),
        ('"tick"', '"map"', "good.toml:13: steps[0].function: component 'source' has no trigger"),
        ('id = "call"', 'id = "source"', "good.toml:24: steps[2].id: 'source' is already the id"),
        ('id = "call"', 'id = "Call"', "good.toml:24: steps[2].id: 'Call' is no name"),
        ('id = "call"', 'id = "mapper-2"', "good.toml:42: vary.containers[2]: with 5 containers, "),
        ("services.api", "services.app", "good.toml:27: steps[2].config: refers to an unknown ser"),
        ('"http-call"', '"http-cal"', "good.toml:25: steps[2].component: there is no component"),
        ('"delay-api"', '"source"', "good.toml:32: services[0].component: 'source' is not a serv"),
        ('"30/min"', '"50 ms"', "good.toml:37: load.rate: '50 ms' is not a rate; write a number"),
        ('"30/min"', "50", "good.toml:37: load.rate: must be a string with a number and /s, /min"),
        ('"30/min"', '"0/s"', "good.toml:37: load.rate: '0/s' is too small; it must be above 0"),
        ('"2 kB"', '"-1 B"', "good.toml:39: load.payload: '-1 B' is too small; it must be above"),
        ("[2, 3, 5]", "[]", "good.toml:42: vary.containers: is empty; give it the values to vary"),
        ("[vary]", "[vary]\n[x]", "good.toml:41: vary: is empty; give it an axis, or leave it out"),
        ('"realtime"', '"realtimes"', "good.toml:3: flow_type: 'realtimes' is unknown; write \"or"),
        ("[2, 3, 5]", "5", "good.toml:42: vary.containers: must be an array of the values"),
        ("[2, 3, 5]", "[2, 1]", "good.toml:42: vary.containers[1]: 1 is too small; it must be"),
        ("[2, 3, 5]", "[2, true]", "good.toml:42: vary.containers[1]: must be a whole number, no"),
        ('"1 MiB"]', '"1024 B"]', "good.toml:43: vary.payload[1]: '1024 B' is there twice"),
        ("starts = 2", "start = 2", "good.toml:47: profiles.quick.start: unknown key; did you m"),
        ("starts = 2", "start = 2", "good.toml:46: profiles.quick.starts: is missing; it must"),
        ("[profiles.quick]", "[profiles.slow]", "good.toml:46: profiles.quick: is missing; it"),
        ("messages = 10\n", "", "good.toml:45: profiles.quick.messages: is missing; it must be"),
        ("cpus = 0.5", "cpus = nan", "good.toml:21: steps[1].limits.cpus: nan is not a finite"),
        ("pids = 32", "pids = 0", "good.toml:21: steps[1].limits.pids: 0 is too small; it must"),
        ("retries = 2", "retries = inf", "good.toml:28: steps[2].config.nested[0].retries: inf d"),
        ("retries = 2", "retries = 1e400", "good.toml:28: steps[2].config.nested[0].retries: inf"),
        ("pids = 32", f"pids = 0x{'f' * 17}", "good.toml:21: steps[1].limits.pids: an integer mu"),
        ('{"sequence": sequence}', "{", "good.toml:20: steps[1].config.expression: not JSONata: "),
        ('{"sequence": sequence}', "/*", "good.toml:20: steps[1].config.expression: not JSONata: "),
        ("config.expression", "config.expresion", "good.toml:20: steps[1].config.expression: is m"),
        ('region = "eu"', "region = 1", "good.toml:8: variables.region: must be a string, not 1"),
        ('title = "', "title = ", "good.toml:2: not TOML: Invalid value at column 9"),
        ('"eu"\n', '"eu"\nregion = ""\n', "good.toml:9: not TOML: Cannot overwrite a value at col"),
    ],
)
def test_one_mistake_is_named_with_line_and_key(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """Each kind of mistake, alone in an otherwise good file."""
    path = tmp_path / "good.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    found = problems(path)
    assert any(problem.startswith(expected) for problem in found), found
    assert len(found) <= 3


@pytest.mark.parametrize(
    ("steps", "containers", "count"), [(1, 2, 1), (1, 3, 1), (2, 2, 0), (2, 3, 1), (3, 9, 0)]
)
def test_only_a_flow_with_a_middle_can_be_lengthened(
    tmp_path: Path, steps: int, containers: int, count: int
) -> None:
    """A container axis needs a step to repeat, unless the flow has that length as it is."""
    functions = [("source", "tick"), ("http-call", "call"), ("action", "consume")]
    chosen = functions if steps == 3 else functions[:steps]
    path = tmp_path / "x.toml"
    path.write_text(
        'name = "x"\ntitle = "x"\nflow_type = "realtime"\n'
        + "".join(
            f'[[steps]]\nid = "{name}"\ncomponent = "{name}"\nfunction = "{function}"\n'
            for name, function in chosen
        )
        + '[load]\nrate = "1/s"\npayload = "1 B"\n'
        + f"[vary]\ncontainers = [{containers}]\n"
        + "[profiles.quick]\nstarts = 1\nmessages = 1\n"
    )
    found = problems(path)
    assert len(found) == count, found
    assert all("vary.containers[0]" in problem for problem in found)


def test_a_broken_component_is_told_with_its_own_file(tmp_path: Path) -> None:
    """The problem names the scenario's line and the manifest, with what to do about it."""
    root = tmp_path / "components"
    for name in ("source", "mapper", "http-call", "delay-api"):
        (root / name).mkdir(parents=True)
        (root / name / "component.json").write_text('{"actions": {"call": {"main": "gone.py"}}}')
    found = problems(DATA / "good.toml", root)
    assert len(found) == 4
    assert found[0].startswith("good.toml:12: steps[0].component: ")
    assert "source/component.json: actions.call.main names 'gone.py', which does not" in found[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, bytes that are no text and endless nesting are told as such."""
    assert problems(tmp_path / "x.toml") == ["x.toml: there is no such file"]
    (tmp_path / "d.toml").mkdir()
    assert problems(tmp_path / "d.toml") == ["d.toml: cannot be read: Is a directory"]
    (tmp_path / "b.toml").write_bytes(b'name = "x"\ntitle = "\xff"\n')
    assert problems(tmp_path / "b.toml") == ["b.toml:2: not UTF-8"]
    (tmp_path / "n.toml").write_text(f"x = {'[' * 50_000}")
    assert problems(tmp_path / "n.toml") == ["n.toml:1: not TOML: nested too deeply"]
    (tmp_path / "k.toml").write_text("a." * 2_000 + "a = 1")
    assert problems(tmp_path / "k.toml") == ["k.toml:1: not TOML: nested too deeply"]


def test_an_empty_file_lists_what_it_needs(tmp_path: Path) -> None:
    """Every required key is asked for at once."""
    (tmp_path / "e.toml").write_text("")
    keys = [problem.split(": ")[1] for problem in problems(tmp_path / "e.toml")]
    assert sorted(keys) == ["flow_type", "load", "name", "profiles", "steps", "title"]


def test_a_catalogue_collects_the_problems_of_all_files(tmp_path: Path) -> None:
    """Two bad files and a doubled name are told in one error."""
    (tmp_path / "a.toml").write_text("x")
    (tmp_path / "b.toml").write_text(GOOD)
    (tmp_path / "c.toml").write_text(GOOD)
    (tmp_path / "d.toml").write_text(GOOD.replace('"30/min"', "1"))
    with pytest.raises(ScenarioError) as caught:
        load_catalogue(tmp_path)
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert [Path(place).name for place in places] == ["a.toml:1", "c.toml:1", "d.toml:37"]


def test_an_empty_catalogue_is_an_error(tmp_path: Path) -> None:
    """A mistyped folder does not pass for one with nothing to do."""
    with pytest.raises(ScenarioError, match="there are no scenario files"):
        load_catalogue(tmp_path)


def test_claims_are_read(tmp_path: Path) -> None:
    """A claim with a target and one without arrive as written; the target names its metric."""
    path = tmp_path / "claims.toml"
    path.write_text(
        '[[claims]]\nid = "S1"\nstatement = "s"\nmetric = "hop_mean_ms"\nscenario = "x"\n'
        'target = { limit = 15, unit = "ms", upper = true }\nparameters = { a = [1] }\n'
        '[[claims]]\nid = "S2"\nstatement = "t"\nmetric = "not_measured"\nscenario = ""\n'
        "needs_containers = true\n"
    )
    assert load_claims(path) == (
        Claim(
            "S1",
            "s",
            "hop_mean_ms",
            "x",
            Target("hop_mean_ms", 15.0, "ms", upper=True),
            parameters={"a": [1]},
        ),
        Claim("S2", "t", "not_measured", "", needs_containers=True),
    )


def test_mistakes_in_claims_are_found_at_once(tmp_path: Path) -> None:
    """Doubled ids, wrong types, a missing direction and unknown keys, each with line and key."""
    path = tmp_path / "claims.toml"
    path.write_text(
        '[[claims]]\nid = "S1"\nstatement = "s"\nmetric = "m"\nscenario = ""\n'
        '[[claims]]\nid = "S1"\nstatment = "s"\nmetric = "m"\nscenario = "x"\n'
        'target = { limit = "15 ms", unit = "ms" }\n'
    )
    with pytest.raises(ScenarioError) as caught:
        load_claims(path)
    assert [problem.replace(f"{path}:", "") for problem in caught.value.problems] == [
        "5: claims[0].scenario: is empty; name the one that measures 'm'",
        "6: claims[1].statement: is missing; it must be a string",
        "7: claims[1].id: 'S1' is already the id of element 0",
        "8: claims[1].statment: unknown key; did you mean 'statement'?",
        "11: claims[1].target.limit: must be a number, not '15 ms'",
        "11: claims[1].target.upper: is missing; it must be true or false",
    ]


PIECES = ["[", "]", "[[", '"', "'", '"""', "=", ".", ",", "{", "}", "#", "\n", "-1", "1e999", "nan"]
PIECES += ["true", "2026-01-01", "[]", "{}", "x", "é", "\x00", "0x" + "f" * 5000, '"\\ud800"', "$"]


def mutated(seed: int) -> str:
    """The good file with some pieces cut, doubled, swapped or replaced."""
    chance = random.Random(seed)
    text = GOOD
    for _ in range(chance.randint(1, 6)):
        lines = text.splitlines(keepends=True) or [""]
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(chance.randrange(len(lines)), lines[at])
            case 2:
                name = lines[at].partition("=")[0]
                lines[at] = f"{name}= {chance.choice(PIECES)}\n"
            case 3:
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                cut = chance.randrange(len(lines[at]) + 1)
                end = cut + chance.randrange(3)
                lines[at] = lines[at][:cut] + chance.choice(PIECES) + lines[at][end:]
        text = "".join(lines)
    return text


@settings(max_examples=200, deadline=None)
@example("\r0")
@given(st.integers(0, 2**32).map(mutated) | st.text(max_size=60))
def test_the_loader_raises_nothing_but_scenario_errors(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Any text loads, or gives problems that each name the file and a line that it has."""
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found: tuple[str, ...] = ()
    try:
        digest = load_scenario(path).flow().digest()
    except ScenarioError as error:
        found = error.problems
        digest = ""
    assert bool(found) != bool(digest)
    for problem in found:
        file, line, *_ = problem.split(":")
        assert file == str(path)
        assert 1 <= int(line) <= text.count("\n") + 1
