"""What an operator asks of an install beyond the registry: the site, its cluster, which steps, how much patience."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airbundle.errors import UsageError
from airbundle.installer.site.step import PATIENCE
from airbundle.store.site_dir import SiteDir

REGISTRY = "registry"
PHASES = (REGISTRY, "nodes", "dns", "trust", "secrets", "releases")
"""What can be picked, in the order in which it is done."""


def _nobody(_question: str) -> bool:
    return False


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Attributes:
        site: the site file, with what lies beside it.
        kubeconfig, context: how the cluster is reached; they win over what the site file says.
        phases: which of `PHASES` are done.
        patience: seconds for which calls of the cluster's API are tried again.
        ask: asks a person; False where nobody can be asked.
        prompt: asks a person for a value that is not to be shown; None where nobody can be asked.
    """

    site: SiteDir
    kubeconfig: Path | None = None
    context: str = ""
    phases: tuple[str, ...] = PHASES
    patience: float = PATIENCE
    ask: Callable[[str], bool] = field(default=_nobody, repr=False)
    prompt: Callable[[str], str] | None = field(default=None, repr=False)

    @property
    def at_cluster(self) -> bool:
        """Whether anything is asked for beyond this host."""
        return self.phases != (REGISTRY,)

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site.site.name

    def reach(self) -> tuple[Path | None, str]:
        """Return kubeconfig and context of the cluster; None and "" where that is by default."""
        cluster = self.site.site.cluster
        named = self.site.root / cluster.kubeconfig if cluster.kubeconfig else None
        return self.kubeconfig or named, self.context or cluster.context


def parse_phases(text: str) -> tuple[str, ...]:
    """Read `--phases`: names of `PHASES` with commas between.

    Raises:
        UsageError: a name is none of them.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PHASES]
    if unknown or not names:
        found = ", ".join(unknown) or "nothing"
        raise UsageError(f"--phases {text}: found {found}", hint=f"expected some of {', '.join(PHASES)}")
    return tuple(phase for phase in PHASES if phase in names)


def phase_of(step: str) -> str:
    """Return the phase that a step belongs to."""
    return {"release": "releases"}.get(step.partition("/")[0], step.partition("/")[0])


def needs_within(needs: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the needs of a step as far as those steps are part of this run."""
    return tuple(need for need in needs if need in names)
