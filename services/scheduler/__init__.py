"""The scheduler service: what is due, what was dropped, what is to be announced.

Hears      ``JournalGrew``, ``SchedulesChanged``, ``OrganizationChanged``
Says       ``LanesReady``, ``WorkReady``, ``JournalGrew``, ``JobChanged``,
           ``ResourceChanged``, ``OrganizationChanged``
Reads      ``journal``, ``scheduled``, ``expiries``, ``rechecks``, ``line_checks``,
           ``leases``, ``workers``, ``schedules``, ``notices``, ``endpoints``,
           ``completion_webhooks``
Writes     jobs of ``schedules``, and what these did and do next (``schedule_runs``,
           ``schedule_backfills``, ``notices``);
           ``ready`` and ``finished`` from ``scheduled``, ``expiries``, ``waiting`` and
           ``held``, and ``held`` from ``ready``; ``endpoints`` that were deleted are
           no more; what becomes of workers' leases that ran out; partitions; how far
           the journal is announced, and told, and ``tallies`` of it; which
           ``workers`` are offline; jobs that tell outgoing and completion webhooks
           what happened, and how the outgoing ones do; deletes ``sessions``,
           ``login_codes``, ``allowances`` and ``daily_usage`` that are over,
           ``incoming_deliveries`` and ``endpoint_minutes`` of long ago, weeks of
           ``jobs`` and ``messages`` that are not to be kept any longer (``retentions``,
           ``sweeps``) with what stands beside them, and
           organizations that are to be erased, with all that they have
Never      hands out a job, or promises to be the only one: every duty may be done twice
"""
