"""What may be asked: one shape a request, by subject.

The door is strict where a mistake would be silent: unknown fields in what is Bellhop's
own (``target``, ``retry``) are refused.  Elsewhere unknown fields are ignored, as
clients of the contract expect.  REST and gRPC check with the same shapes.
"""
