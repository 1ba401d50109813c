"""The one error tree of hopbench.

::

    HopbenchError                 anything hopbench reports to its user
    |-- InputError                what the user gave is wrong; nothing was started
    |   |-- ProblemsFound         wrong in several places; carries every problem found
    |   |   |-- ScenarioError     a scenario file
    |   |   `-- DefinitionError   a flow's definition
    |   `-- ComponentError        a component folder: manifest, file or function
    |-- BrokerError               the message broker
    |   |-- BrokerUnavailable     not there, refused, or the connection died
    |   |-- PublishRefused        a message was not accepted (queue full, unroutable)
    |   `-- MessageTooLarge       over the outgoing limit, refused before it was sent
    |-- LaunchError               a container or process
    |   |-- EngineUnavailable     no container engine, or no permission to use it
    |   |-- ImageError            an image could not be found or built
    |   `-- StepExited            a step ended that should have kept running
    |-- FlowError                 a flow did not do what its mode demands in time
    |-- StateError                the state of a flow does not allow it; nothing was done
    |-- MeasurementError          the measurement itself cannot be trusted
    `-- DataError                 stored measurements
        |-- SpoolError            a worker's span file
        |-- StoreError            the platform's store: read-only, locked or damaged
        `-- FormatError           a run directory that is damaged, or of an unknown format

Every error says what happened, where (file and line, container, queue), and what to do next.
"""

from __future__ import annotations


class HopbenchError(Exception):
    """Base of all errors that hopbench raises for its user.

    ``what`` is a sentence without a full stop, ``where`` a place (``file:line``, a container, a
    queue), ``remedy`` the next thing to do. ``str()`` joins those that are given.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        # What another program said may end with a full stop of its own.
        return f"{text.removesuffix('.')}. {self.remedy}" if self.remedy else text


class InputError(HopbenchError):
    """What the user gave is wrong. Nothing was started."""


class ComponentError(InputError):
    """A component folder cannot be used: manifest, file or function is missing or wrong."""


class ProblemsFound(InputError):
    """What was given is wrong; ``problems`` lists all that was found, each with its place."""

    def __init__(self, problems: tuple[str, ...], *, where: str = "", remedy: str = "") -> None:
        count = len(problems)
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(
            f"{count} problem{'' if count == 1 else 's'} found{lines}", where=where, remedy=remedy
        )
        self.problems = problems


class ScenarioError(ProblemsFound):
    """A scenario file is wrong; each problem has its line and key."""


class DefinitionError(ProblemsFound):
    """A flow's definition is wrong; each problem has its key."""


class BrokerError(HopbenchError):
    """The message broker."""


class BrokerUnavailable(BrokerError):
    """The broker is not there, refused us, or the connection died."""


class PublishRefused(BrokerError):
    """The broker did not accept a message: its queue is full or nothing is bound to its key."""


class MessageTooLarge(BrokerError):
    """A message is over the outgoing limit and was refused before it was sent."""


class LaunchError(HopbenchError):
    """A container or process could not be started, watched or stopped."""


class EngineUnavailable(LaunchError):
    """There is no container engine, or we may not use it."""


class ImageError(LaunchError):
    """An image could not be found or built."""


class StepExited(LaunchError):
    """A step's container or process ended although it should have kept running."""


class FlowError(HopbenchError):
    """A flow did not do in time what its mode demands."""


class StateError(HopbenchError):
    """An operation that the flow's state does not allow. Nothing was done."""


class MeasurementError(HopbenchError):
    """The measurement itself cannot be trusted: rate not reached, clocks differ, messages lost."""


class DataError(HopbenchError):
    """Stored measurements cannot be used."""


class SpoolError(DataError):
    """A worker's span file is damaged."""


class StoreError(DataError):
    """The platform's store cannot be used: read-only, locked, damaged, or of a newer schema."""


class FormatError(DataError):
    """A run directory is damaged or has a format that this version does not know."""
