"""The five services: each its own process, each behind its own door.

They meet in Postgres rows and NATS messages and never import one another.
"""
