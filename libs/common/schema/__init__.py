"""The schema: numbered migrations in plain SQL, forward only (see ``migrate``)."""
