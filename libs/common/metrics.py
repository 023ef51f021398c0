"""The metrics that more than one service keeps, and how they are shown.

Names are ``bellhop_<noun>_<what>_<unit>``.  Labels are bounded lists of our own
words: never an organization, a queue, a URL or a job.
"""

from prometheus_client import Counter, Gauge, Histogram

ACTOR_FAILURES = Counter(
    "bellhop_actor_failures_total",
    "Times an actor failed and was restarted.",
    ["actor"],
)
BATCH_SIZE = Histogram(
    "bellhop_batch_size_items",
    "Items that shared one statement.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
BUS_CONNECTED = Gauge("bellhop_bus_connected", "1 while connected to NATS.")
BUS_RECONNECTS = Counter("bellhop_bus_reconnects_total", "Reconnects to NATS.")
MESSAGES_UNREADABLE = Counter(
    "bellhop_messages_unreadable_total",
    "Messages from the bus that could not be read and were skipped.",
    ["word"],
)
