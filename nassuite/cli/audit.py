"""``nassuite audit``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.audit_settings import AuditSettings
from nassuite.cli.parser import add_settings, given_settings
from nassuite.progress import Progress


def add(commands: Any) -> None:
    audit = commands.add_parser(
        "audit",
        help="say whether a run's ranking of architectures can be trusted",
        description="Trains architectures from scratch, compares them with what they inherit from the run's supernet, "
        "and says in words what its ranking is worth. Interrupted it goes on: the same command again.",
    )
    audit.add_argument("run_folder", metavar="RUN", type=Path)
    add_settings(audit, AuditSettings)
    audit.set_defaults(run=_audit)


def _audit(arguments: argparse.Namespace) -> int:
    given = given_settings(arguments, AuditSettings)
    settings = AuditSettings(**given)
    arguments.progress = progress = Progress()
    with progress.starting(f"auditing {arguments.run_folder}"):
        from nassuite.auditing import audit
        from nassuite.report.markdown import audit_markdown

    facts = audit(arguments.run_folder, settings if given else None, progress=progress)
    print(audit_markdown(facts), end="")
    return 0
