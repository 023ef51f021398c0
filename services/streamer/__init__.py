"""The streamer: what happens, as it happens, to whoever watches.

Hears      ``JobChanged``, ``ResourceChanged`` (events), ``OrganizationChanged``,
           ``WorkerSeen`` (hints)
Says       nothing
Reads      ``api_keys`` and ``sessions``, through the key ring; ``journal``, ``notices``
           and the places of jobs, for who missed something; ``tallies``, once for each
           queue that is watched
Writes     nothing
Never      decides about a job, keeps what nobody takes, or lets one watcher see what
           is another's; a watcher that is too slow is sent away, never waited for
"""
