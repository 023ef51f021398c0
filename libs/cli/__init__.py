"""The ``bellhop`` command: everything on one machine, for those who begin.

``up`` starts Postgres, NATS and the five services under one supervisor.  Nothing in
here is needed in production: there the services run one by one, as they are.
"""
