"""Small mistakes in what the statements do to workflows; `play_flows` sees them."""

from types import ModuleType

from libs.common.store import claims, interventions, workflows

#: What stands once in a statement, and what takes its place; as in ``mistakes``.
IN_FLOWS: dict[str, tuple[ModuleType | None, str, str, str]] = {
    "end a workflow, and not see who was cancelled": (
        None,
        "move_workflows",
        "WHEN ended.cancelled > 0 THEN 'cancelled'",
        "WHEN false THEN 'cancelled'",
    ),
    "take a dead letter for open": (
        None,
        "has_open_jobs",
        "(SELECT true FROM dead WHERE dead.job_id = mine.job_id LIMIT 1) IS NULL",
        "true",
    ),
    "take who was skipped for lost": (
        None,
        "hopes_of",
        "THEN 'skipped'",
        "THEN 'lost'",
    ),
    "skip, and not say so": (
        None,
        "move_waiting",
        "SET skipped = true",
        "SET skipped = false",
    ),
    "let go, and forget the workflow": (
        None,
        "let_go",
        "hold_workflows(everybody, patient)",
        "hold_workflows('{}', patient)",
    ),
    "fail at once, and let nobody know": (
        None,
        "release_children",
        "done.left_over := done.left_over || done.sweeping",
        "done.left_over := done.left_over",
    ),
    "forgive nobody": (None, "has_failed_jobs", "AND NOT forgiven", ""),
    "retry, and leave the workflow failed": (
        interventions,
        "requeue",
        "FROM resumed WHERE state = 'failed'",
        "FROM resumed WHERE false",
    ),
    "sweep who waits for any end": (
        None,
        "idle_jobs",
        "kind <> 'success'",
        "kind = 'failure'",
    ),
    "claim, and not begin the workflow": (
        claims,
        "claim_work",
        "WHERE standing.state = 'pending'",
        "WHERE false",
    ),
    "start over, and not look at who waits": (
        workflows,
        "restart",
        "SELECT job_id FROM placed WHERE waits\n), resumed",
        "SELECT job_id FROM placed WHERE false\n), resumed",
    ),
    "add jobs, and not look at who waits": (
        workflows,
        "extend",
        "SELECT job_id, true FROM unnest($4::uuid[]) AS added (job_id)",
        "SELECT job_id, true FROM unnest($4::uuid[]) AS added (job_id) WHERE false",
    ),
    "sweep who is retried beside a failure": (
        None,
        "has_failed_jobs",
        "ending = 'expired'",
        "ending IS NOT NULL",
    ),
}
