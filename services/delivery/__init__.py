"""The delivery service: it makes the attempts, and says how each one went.

Hears      ``AttemptDeliveries`` (command), ``AttemptWanted`` (request)
Says       ``AttemptsEnded`` and ``BodyWanted`` (requests), ``LeasesHeld`` (hint); what
           somebody who listens for an endpoint is to be sent (request)
Reads      nothing but what a batch brings
Writes     nothing
Never      talks to Postgres, begins an attempt whose lease may have run out, follows
           a redirect, decides about a retry, or forgets a verdict before somebody
           has said that it is committed
"""
