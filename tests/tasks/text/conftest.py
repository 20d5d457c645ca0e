from hypothesis import settings

# the first example may wait for an import, and the machine may have other work
settings.register_profile("text", deadline=None)
settings.load_profile("text")
