"""What the claims are judged by: a run's trials and cells, by scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.cell_figures import FloorHops
from reports.cells import Cell, group
from reports.records import RunRecord, ScenarioRecord
from reports.rundir import RunData
from reports.stats import Bootstrap
from reports.trials import FAILED, Trial, analyse_trial


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run, analysed. ``trials`` are all that were stored; ``cells`` hold only valid ones."""

    run: RunRecord
    trials: tuple[Trial, ...]
    cells: Mapping[str, tuple[Cell, ...]]
    floor: FloorHops
    bootstrap: Bootstrap

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

    def gap(self, scenario: str) -> str | None:
        """What of a scenario was planned and not made; None when all was."""
        planned = self.scenario(scenario)
        made = len(self.stored(scenario))
        if planned is None or made >= planned.planned_trials:
            return None
        return (
            f"the run ended early: {made} of {planned.planned_trials} trials of scenario "
            f"{scenario} were made"
        )


def gather(data: RunData) -> Evidence:
    """Join and judge every trial, and group the valid ones into cells."""
    trials = tuple(analyse_trial(trial) for trial in data.trials)
    cells = {
        scenario.name: group(
            scenario, [t for t in trials if t.valid and t.record.scenario == scenario.name]
        )
        for scenario in data.record.scenarios
    }
    floor = data.record.floor
    hops = [_floor_p50(side) for side in ((floor.before, floor.after) if floor else (None, None))]
    return Evidence(
        run=data.record,
        trials=trials,
        cells=cells,
        floor=FloorHops(hops[0], hops[1]),
        bootstrap=Bootstrap(data.record.seed),
    )


def _floor_p50(side: Mapping[str, object] | None) -> float | None:
    hop = side.get("broker_hop_ms") if side else None
    p50 = hop.get("p50") if isinstance(hop, dict) else None
    return float(p50) if isinstance(p50, (int, float)) and p50 > 0 else None
