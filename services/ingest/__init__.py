"""The ingest service: the front door, where jobs come in and questions are answered.

Hears      ``OrganizationChanged``, ``WorkReady``, ``JournalGrew``; jobs that outsiders
           hand in over NATS, and consumers that they ask for; what somebody who listens
           here for an endpoint is to be sent (request)
Says       ``LanesReady``, ``WorkReady``, ``JournalGrew``, ``OrganizationChanged``,
           ``SchedulesChanged``, ``WorkerSeen``; ``AttemptWanted`` (request)
Reads      everything an organization may know of itself
Writes     ``jobs`` with their first place, ``messages`` with their deliveries, what
           workers do with their jobs (claim, renew, settle, give back) and ``workers``,
           what people do by hand (cancel, retry, purge, resend), the configuration,
           ``sessions``, ``incoming_deliveries`` and what is left of rates
Never      says yes before Postgres has committed, or makes a request itself (it hands
           sign-in codes to a mail server)
"""
