"""What the claims are judged by: a run's trials and cells, by scenario."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.cells import Cell, group
from reports.floor import FloorHops, floor_hops
from reports.records import RunRecord, ScenarioRecord
from reports.rundir import Damage, RunData
from reports.stats import Bootstrap
from reports.trials import FAILED, Trial, analyse_trial


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run, analysed. ``trials`` are all that were stored; ``cells`` hold only valid ones.

    A scenario that shows what happens to a flow, or to its messages, has no cells.
    """

    run: RunRecord
    trials: tuple[Trial, ...]
    cells: Mapping[str, tuple[Cell, ...]]
    floor: FloorHops
    bootstrap: Bootstrap
    damaged: tuple[Damage, ...] = ()

    def scenario(self, name: str) -> ScenarioRecord | None:
        """The scenario of that name, None when it was not in the run."""
        return next((s for s in self.run.scenarios if s.name == name), None)

    def stored(self, scenario: str) -> list[Trial]:
        """All stored trials of a scenario."""
        return [trial for trial in self.trials if trial.record.scenario == scenario]

    def valid(self, scenario: str) -> list[Trial]:
        """The valid trials of a scenario."""
        return [trial for trial in self.stored(scenario) if trial.valid]

    def absence(self, scenario: str) -> str | None:
        """Why nothing can be said about a scenario; None when it has a valid trial."""
        if self.scenario(scenario) is None:
            return f"scenario {scenario} was not in this run"
        if self.valid(scenario):
            return None
        stored = self.stored(scenario)
        if not stored:
            return f"no trial of scenario {scenario} was made before the run ended"
        reasons = sorted({reason for trial in stored for reason in trial.reasons})
        kind = "failed" if all(t.status == FAILED for t in stored) else "was valid"
        lead = f"every trial of scenario {scenario} {kind}"
        if kind == "was valid":
            lead = f"no trial of scenario {scenario} was valid"
        return f"{lead}: {'; '.join(reasons) or 'no reason was recorded'}"

    def waits(self, scenario: str) -> bool:
        """Whether its load was a closed loop: sent when the flow was ready for it, not when due."""
        record = self.scenario(scenario)
        return record is not None and record.load is not None and record.load.loop == "closed"

    def doubts(self, scenarios: Iterable[str]) -> list[str]:
        """Why no claim about these scenarios is met, whatever the sound trials say.

        A run that did not come to its end, or lacks trials, or has trials that cannot be read or
        trusted, shows only a part of what happened, and the part may have been chosen by what went
        wrong. Only the load generator's lateness is no doubt: it does not depend on the flow.
        """
        found = []
        if self.run.status != "complete":
            word = "failed" if self.run.status == "failed" else "was interrupted"
            made = f"{len(self.trials)} of {self.run.planned_trials} trials were made"
            found.append(f"the run {word}: {made}")
        found += [f"{one.file} {one.what}" for one in self.damaged if one.scenario is None]
        for name in scenarios:
            found += [gap for gap in (self.absence(name), self._gap(name)) if gap is not None]
            damaged = [one for one in self.damaged if one.scenario == name]
            found += [f"a trial of scenario {name} cannot be read: {one}" for one in damaged[:1]]
            unfit = [t for t in self.stored(name) if not t.valid and not t.late]
            if unfit and self.valid(name):
                found.append(
                    f"{len(unfit)} of {len(self.stored(name))} trials of scenario {name} cannot be "
                    f"used; trial {unfit[0].record.index} {unfit[0].status}: "
                    f"{'; '.join(unfit[0].reasons) or 'no reason was recorded'}"
                )
        return found

    def _gap(self, scenario: str) -> str | None:
        """What of a scenario was planned and not made; None when all was."""
        planned = self.scenario(scenario)
        lost = sum(one.scenario == scenario for one in self.damaged)
        made = len(self.stored(scenario)) + lost
        if planned is None or made >= planned.planned_trials:
            return None
        return f"{made} of {planned.planned_trials} trials of scenario {scenario} were made"


def gather(data: RunData) -> Evidence:
    """Join and judge every trial, and group the valid ones into cells."""
    unprompted = {scenario.name for scenario in data.record.scenarios if scenario.unprompted}
    trials = tuple(
        analyse_trial(trial, unprompted=trial.record.scenario in unprompted)
        for trial in data.trials
    )
    cells = {
        scenario.name: ()
        if scenario.shows_events
        else group(scenario, [t for t in trials if t.valid and t.record.scenario == scenario.name])
        for scenario in data.record.scenarios
    }
    return Evidence(
        run=data.record,
        trials=trials,
        cells=cells,
        floor=floor_hops(data.record.floor),
        bootstrap=Bootstrap(data.record.seed),
        damaged=data.damaged,
    )
