{
  # One list of sources for node-gyp (this file) and cmake-js: CMakeLists.txt globs the same folders.
  "targets": [
    {
      "target_name": "vfio_dmabuf",
      "sources": ["<!@(ls native/*/*.cc)"],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",  # whatever C++ throws becomes a JavaScript error
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",  # a worker may be terminated in mid-call, where none can be thrown
        "NODE_ADDON_API_DISABLE_DEPRECATED"
      ],
      "cflags_cc!": [
        "-fno-exceptions",  # a Failure is thrown in core and turned into a JavaScript error in binding
        "-fno-rtti",        # the fake kernel asks a file what it is
        "-std=gnu++17"      # Node's own standard; ours is newer
      ],
      "cflags_cc": [
        "-std=c++20",
        "-fexceptions",
        "-frtti",
        "-Wall", "-Wextra", "-Wconversion",
        "-Wno-missing-field-initializers",  # ioctl structs are filled by name, the rest is zero on purpose
        "-fvisibility=hidden",              # only the module's entry point is anybody's business
        # Hardening, as in CMakeLists.txt; test/unit/hardening.test.ts reads the result.
        "-fstack-protector-strong",
        "-U_FORTIFY_SOURCE"                 # some compilers define a lower level themselves
      ],
      "conditions": [
        ["target_arch=='x64'", {"cflags_cc": ["-fcf-protection=full"]}],           # CET
        ["target_arch=='arm64'", {"cflags_cc": ["-mbranch-protection=standard"]}]  # BTI and PAC
      ],
      # Needs optimization, which a debug build has not. The C library takes 3 for 2 where the compiler is too old for 3.
      "configurations": {"Release": {"cflags_cc": ["-D_FORTIFY_SOURCE=3"]}},
      "ldflags": [
        "-Wl,-z,relro,-z,now,-z,noexecstack",
        "-Wl,--version-script=<(module_root_dir)/native/exports.map"
      ]
    }
  ]
}
