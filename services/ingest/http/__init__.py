"""REST: one module a resource, the same errors everywhere (contract section 1)."""
