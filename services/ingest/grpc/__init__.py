"""gRPC: the same verbs as REST behind the same intake, no second logic."""
