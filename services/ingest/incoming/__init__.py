"""Webhooks of others: proven provider by provider, and taken in.

A module per provider says how its signature is checked and what its requests are
(pure); `sources` knows whose secrets an organization has given us, and `reception`
makes jobs and messages of what was believed.
"""
