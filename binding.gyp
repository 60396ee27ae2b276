{
  # `node-gyp rebuild` works too, but describes nothing: CMakeLists.txt does. node-gyp wipes build/, hence --out.
  'targets': [
    {
      'target_name': 'block_attention',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake_js',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['build/cmake/CMakeCache.txt'],
          'action': ['npm', 'run', 'build:native'],
        },
      ],
    },
  ],
}
