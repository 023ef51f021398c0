"""Commands that ask a Bellhop, here or elsewhere, over its REST API.

They need an address and a key, and nothing else of a stack: `access` finds both.
"""
