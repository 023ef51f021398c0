"""The ingest service: the front door, where jobs come in and questions are answered.

Hears      ``OrganizationChanged``
Says       ``LanesReady``, ``JournalGrew``, ``OrganizationChanged``
Reads      everything an organization may know of itself
Writes     ``jobs`` with their first place, what people do by hand (cancel, retry,
           purge), and the configuration
Never      says yes before Postgres has committed, or makes a request itself
"""
