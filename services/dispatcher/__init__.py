"""The dispatcher service: who is next, to whom, and how it went.

Hears      ``LanesReady``, ``LeasesHeld``, ``DispatcherAlive``, ``OrganizationChanged``,
           ``AttemptsEnded``, ``BodyWanted``
Says       ``AttemptDeliveries``, ``DispatcherAlive``, ``LanesReady``, ``WorkReady``,
           ``JournalGrew``, ``OrganizationChanged``
Reads      ``ready``, ``jobs``, ``messages``, ``lanes``, ``queues``, ``organizations``,
           ``signing_secrets``, ``endpoints``, ``endpoint_secrets``,
           ``completion_webhooks``
Writes     ``leases``, ``leased`` and every place an attempt can end in; how much of the
           rates of ``queues`` and ``endpoint_health`` is spent; how endpoints do, and
           ``endpoints`` disabled because they do badly, with ``notices`` of it
Never      makes a request to a receiver, or hands out more than the pods can carry
"""
