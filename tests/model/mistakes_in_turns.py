"""Small mistakes in what the statements do to lines."""

from types import ModuleType

from libs.common.store import (
    claims,
    dependencies,
    interventions,
    jobs,
    leases,
    lines,
    settlement,
    timers,
)

#: What stands once in a statement, and what takes its place; as in ``mistakes``.
IN_TURNS: dict[str, tuple[ModuleType | None, str, str, str]] = {
    "call one too many": (
        lines,
        "call",
        "LIMIT greatest(looked.room, 0)",
        "LIMIT looked.room + 1",
    ),
    "call who came last": (
        lines,
        "call",
        "ORDER BY position",
        "ORDER BY position DESC",
    ),
    "count the called of all keys": (
        lines,
        "call",
        "\n                                      AND lines.key = line.key",
        "",
    ),
    "call, and forget that one did": (
        lines,
        "call",
        "SET called = true",
        "SET called = false",
    ),
    "call, and stay held": (
        lines,
        "call",
        "DELETE FROM held\n     WHERE",
        "DELETE FROM held\n     WHERE false AND",
    ),
    "call before one's time": (
        lines,
        "call",
        "coalesce(run_at > now(), false) AS later",
        "false AS later",
    ),
    "call, and look for ever": (
        lines,
        "call",
        "DELETE FROM line_checks WHERE",
        "DELETE FROM line_checks WHERE false AND",
    ),
    "strike what was not looked at": (
        lines,
        "call",
        "DELETE FROM line_checks WHERE id = ANY ($3::bigint[])",
        "DELETE FROM line_checks WHERE id > 0 OR id = ANY ($3::bigint[])",
    ),
    "call, and forget the attempts": (
        lines,
        "call",
        "now(), job_id, attempt, retry_count",
        "now(), job_id, 0, retry_count",
    ),
    "run at once what has a line": (
        jobs,
        "create",
        "AND NOT waits\n       AND line_key IS NULL\n), into_scheduled",
        "AND NOT waits\n), into_scheduled",
    ),
    "join in another order than one came": (
        jobs,
        "create",
        "ORDER BY place\n    RETURNING scope, key",
        "ORDER BY place DESC\n    RETURNING scope, key",
    ),
    "forget the time of who is held": (
        jobs,
        "create",
        "'its turn has not come', CASE WHEN later THEN run_at END",
        "'its turn has not come', NULL",
    ),
    "join without a word": (
        jobs,
        "create",
        "SELECT DISTINCT scope, key FROM into_lines",
        "SELECT scope, key FROM into_lines WHERE false",
    ),
    "join a line beside one's parent": (
        jobs,
        "create",
        "AND NOT waits\n     ORDER BY place",
        "ORDER BY place",
    ),
    "settle, and stay in line": (
        settlement,
        "settle",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "let a retry leave the line": (
        settlement,
        "settle",
        "SELECT job_id FROM into_finished UNION ALL SELECT job_id FROM into_dead",
        "SELECT job_id FROM closed WHERE transition <> 'released'",
    ),
    "leave a line without a word": (
        settlement,
        "settle",
        "SELECT DISTINCT scope, key FROM left_line",
        "SELECT scope, key FROM left_line WHERE false",
    ),
    "expire in a worker's hands, and stay in line": (
        claims,
        "claim_work",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "claim, and leave the line": (
        claims,
        "claim_work",
        "(ARRAY(SELECT job_id FROM given WHERE expired))\n    RETURNING scope",
        "(ARRAY(SELECT job_id FROM given))\n    RETURNING scope",
    ),
    "be quarantined, and stay in line": (
        leases,
        "recover",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "lose one's turn with the process": (
        leases,
        "recover",
        "(ARRAY(SELECT job_id FROM judged WHERE hopeless))\n    RETURNING scope",
        "(ARRAY(SELECT job_id FROM judged))\n    RETURNING scope",
    ),
    "die with a worker, and stay in line": (
        leases,
        "recover_work",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "lose one's turn with the worker": (
        leases,
        "recover_work",
        "(ARRAY(SELECT job_id FROM judged WHERE hopeless))\n    RETURNING scope",
        "(ARRAY(SELECT job_id FROM judged))\n    RETURNING scope",
    ),
    "expire, and stay in line": (
        timers,
        "expire",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "be cancelled, and stay in line": (
        interventions,
        "cancel",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "requeue past the line": (
        interventions,
        "requeue",
        "      FROM placed\n     WHERE line_key IS NULL",
        "      FROM placed",
    ),
    "requeue without a word": (
        interventions,
        "requeue",
        "SELECT DISTINCT scope, key FROM into_lines",
        "SELECT scope, key FROM into_lines WHERE false",
    ),
    "wait for a job, and stay in line": (
        dependencies,
        "depend",
        "DELETE FROM lines WHERE",
        "DELETE FROM lines WHERE false AND",
    ),
    "unblock past the line": (
        None,
        "move_waiting",
        "WHERE NOT later\n           AND line_key IS NULL\n        RETURNING",
        "WHERE NOT later\n        RETURNING",
    ),
    "unblock without a word": (
        None,
        "move_waiting",
        "SELECT DISTINCT scope, key FROM into_lines",
        "SELECT scope, key FROM into_lines WHERE false",
    ),
}
