"""What is answered: the contract's fields under the contract's names, by subject.

Where clients name a field differently, it is sent under both names (D15).  A shape is
a ``TypedDict``, so that what is sent is what is described, at no cost when it is sent.
"""
