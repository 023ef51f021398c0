"""The dispatcher service: who is next, to whom, and how it went.

Hears      ``LanesReady``, ``LeasesHeld``, ``DispatcherAlive``, ``OrganizationChanged``,
           ``AttemptsEnded``, ``BodyWanted``
Says       ``AttemptDeliveries``, ``DispatcherAlive``, ``LanesReady``, ``WorkReady``,
           ``JournalGrew``
Reads      ``ready``, ``jobs``, ``lanes``, ``queues``, ``signing_secrets``
Writes     ``leases``, ``leased`` and every place an attempt can end in
Never      makes a request to a receiver, or hands out more than the pods can carry
"""
