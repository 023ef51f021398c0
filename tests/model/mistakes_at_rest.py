"""Small mistakes in what the statements do to jobs of an endpoint that is disabled."""

from types import ModuleType

from libs.common.store import claims, closures, resting

#: What stands once in a statement, and what takes its place; as in ``mistakes``.
AT_REST: dict[str, tuple[ModuleType, str, str, str]] = {
    "claim for who is disabled": (
        claims,
        "claim",
        "(lane.endpoint_id IS NULL OR endpoint.takes)",
        "true",
    ),
    "claim for who was deleted": (
        claims,
        "claim",
        "SELECT enabled AND deleted_at IS NULL AS takes",
        "SELECT enabled AS takes",
    ),
    "claim for an endpoint, admitted or not": (
        claims,
        "claim",
        "(coalesce(queue.limited, false) OR lane.endpoint_id IS NOT NULL)",
        "coalesce(queue.limited, false)",
    ),
    "hold what may go": (
        resting,
        "hold",
        "\n               AND NOT enabled",
        "",
    ),
    "hold, and forget why": (resting, "hold", "reason, true\n", "reason, false\n"),
    "hold, and stay ready": (
        resting,
        "hold",
        "(SELECT address FROM picked)",
        "'{}'::tid[]",
    ),
    "forget the crashes while at rest": (
        resting,
        "hold",
        "crash_count, reason, true",
        "0, reason, true",
    ),
    "hold without a word": (
        resting,
        "hold",
        "'reason', reason)\n      FROM taken",
        "'reason', reason)\n      FROM taken WHERE false",
    ),
    "wake who waits for a turn": (
        resting,
        "wake",
        "\n               AND at_rest",
        "",
    ),
    "wake who is disabled still": (
        resting,
        "wake",
        "\n               AND enabled",
        "",
    ),
    "wake the youngest first": (
        resting,
        "wake",
        "ORDER BY job_id",
        "ORDER BY job_id DESC",
    ),
    "overlook who may go on": (
        resting,
        "lanes_to_wake",
        "endpoint.enabled IS NOT false",
        "endpoint.enabled IS NULL",
    ),
    "overlook who was deleted": (
        resting,
        "lanes_at_rest",
        "endpoint.enabled IS NOT true",
        "endpoint.enabled IS false",
    ),
    "end all but what is for later": (
        closures,
        "cancel_lanes",
        "UNION ALL SELECT * FROM from_scheduled\n",
        "",
    ),
}
