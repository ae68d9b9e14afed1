{
  # kernel, core and fake are static libraries without Node, as in CMakeLists.txt; binding makes the addon of them.
  "variables": {
    "prebuilt%": 0,  # 1: for other systems than this one; see scripts/prebuild.ts
    "raw_calls%": 0,  # 1: with test/native/raw_calls.cc, for the tests of a checkout
    # 1: the C library is glibc, for which the preload library is written.
    "glibc%": "<!(node -p \"process.report.excludeNetwork = true; +('glibcVersionRuntime' in process.report.getReport().header)\")"
  },
  "target_defaults": {
    "include_dirs": ["."],
    "cflags_cc!": [
      "-fno-exceptions",  # a Failure is thrown in core and turned into a JavaScript error in binding
      "-fno-rtti",        # the fake kernel asks a file for its type
      "-std=gnu++17"      # Node's own standard; ours is newer
    ],
    "cflags_cc": [
      "-std=c++20",
      "-fexceptions",
      "-frtti",
      "-Wall", "-Wextra", "-Wconversion",
      "-Wno-missing-field-initializers",  # ioctl structs are initialized by name; the other fields are zero
      "-fvisibility=hidden",              # the addon exports its entry point only
      # Hardening, as in CMakeLists.txt; test/unit/hardening.test.ts reads the result.
      "-fstack-protector-strong",
      "-U_FORTIFY_SOURCE"                 # some compilers define a lower level themselves
    ],
    "conditions": [
      ["target_arch=='x64'", {"cflags_cc": ["-fcf-protection=full"]}],           # CET
      ["target_arch=='arm64'", {"cflags_cc": ["-mbranch-protection=standard"]}]  # BTI and PAC
    ],
    "configurations": {
      "Release": {
        "cflags!": ["-O3"],  # Node's own level compiles a fifth longer; no benchmark shows a difference
        # _FORTIFY_SOURCE needs optimization. The C library takes 3 for 2 where the compiler is too old for 3.
        "cflags_cc": ["-O2", "-D_FORTIFY_SOURCE=3"]
      }
    }
  },
  "targets": [
    {
      "target_name": "vfio_dmabuf_core",
      "type": "static_library",
      "sources": ["<!@(node native/sources.mjs --joined kernel core)"]
    },
    {
      "target_name": "vfio_dmabuf_fake",
      "type": "static_library",
      "sources": ["<!@(node native/sources.mjs --joined fake)"]
    },
    {
      "target_name": "vfio_dmabuf",
      "dependencies": ["vfio_dmabuf_core", "vfio_dmabuf_fake"],
      "sources": ["<!@(node native/sources.mjs --joined binding)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",  # every C++ exception becomes a JavaScript error
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",  # a worker may be terminated during a call; nothing can be thrown then
        "NODE_ADDON_API_DISABLE_DEPRECATED"
      ],
      "conditions": [
        ["prebuilt==1", {
          "sources": ["prebuilt/older_glibc.cc", "prebuilt/older_glibc_addon.cc"],
          # Its own libstdc++: systems have older ones. libgcc_s is Node's: there is one unwinder in a process.
          "ldflags": ["-static-libstdc++", "-shared-libgcc", "-Wl,--gc-sections", "-Wl,-s"]
        }],
        ["prebuilt==0 and raw_calls==1", {
          "sources": ["../test/native/raw_calls.cc"],
          "defines": ["VFIO_DMABUF_RAW_CALLS"]
        }]
      ],
      "ldflags": [
        "-Wl,-z,nodelete",  # stays loaded when the worker that loaded it has ended: its threads and its signal handler remain
        "-Wl,-z,relro,-z,now,-z,noexecstack",
        "-Wl,--version-script=../native/exports.map"  # relative to build/: the checkout's path may have spaces and quotes
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64' and glibc==1", {
      "targets": [
        {
          # The preload library of `vfio-dmabuf run`; next to the addon.
          "target_name": "vfio_dmabuf_run",
          "type": "loadable_module",
          "target_conditions": [["_type=='loadable_module'", {"product_extension": "so"}]],  # not node-gyp's "node"
          "dependencies": ["vfio_dmabuf_core", "vfio_dmabuf_fake"],
          "sources": ["<!@(node native/sources.mjs --joined preload)"],
          "libraries": ["-ldl", "-lpthread"],  # of older C libraries
          "conditions": [
            ["prebuilt==1", {
              "sources": ["prebuilt/older_glibc.cc"],
              # As the addon. The program must not use this libstdc++ in place of its own (--exclude-libs). Before glibc
              # 2.34, programs have libdl and libpthread only if they need them; the linker's -ldl is empty since then.
              "ldflags": ["-static-libstdc++", "-shared-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections", "-Wl,-s"],
              "libraries": ["-Wl,--no-as-needed", "-l:libdl.so.2", "-l:libpthread.so.0", "-Wl,--as-needed"]
            }]
          ],
          "ldflags": [
            "-Wl,-z,nodelete",
            "-Wl,-z,relro,-z,now,-z,noexecstack",
            "-Wl,--version-script=../native/preload/exports.map"
          ]
        }
      ]
    }]
  ]
}
