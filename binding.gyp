# The build is described in native/addon.gypi. The package contains that file and not this one, because package managers
# compile every package that has a binding.gyp.
{"variables": {"raw_calls": 1}, "includes": ["native/addon.gypi"]}
