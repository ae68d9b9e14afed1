{
  # kernel, core and fake are static libraries without Node, as in CMakeLists.txt; binding makes the addon of them.
  "target_defaults": {
    "include_dirs": ["native"],
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
      "-fvisibility=hidden"               # the addon exports its entry point only
    ]
  },
  "targets": [
    {
      "target_name": "vfio_dmabuf_core",
      "type": "static_library",
      "sources": ["<!@(node native/sources.mjs kernel core)"]
    },
    {
      "target_name": "vfio_dmabuf_fake",
      "type": "static_library",
      "sources": ["<!@(node native/sources.mjs fake)"]
    },
    {
      "target_name": "vfio_dmabuf",
      "dependencies": ["vfio_dmabuf_core", "vfio_dmabuf_fake"],
      "sources": ["<!@(node native/sources.mjs binding)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",  # every C++ exception becomes a JavaScript error
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",  # a worker may be terminated during a call; nothing can be thrown then
        "NODE_ADDON_API_DISABLE_DEPRECATED"
      ],
      "ldflags": [
        "-Wl,-z,nodelete"  # stays loaded when the worker that loaded it has ended: its threads and its signal handler remain
      ]
    }
  ]
}
