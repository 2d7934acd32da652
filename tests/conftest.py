"""Settings of all tests."""

from hypothesis import settings

# A busy machine is not a failure: examples have no time limit.
settings.register_profile("superpose", deadline=None)
settings.load_profile("superpose")
