import eslint from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  globalIgnores(['build/', 'dist/', 'docs/api/', '.vfio-dmabuf/']),
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': [
        'error',
        // `using` is there for its end, and a leading underscore says that a place must be filled.
        { ignoreUsingDeclarations: true, argsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' },
      ],
      // Numbers and bigints print as one expects, and messages are full of them.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // `() => close()` is how one hands over a call, whatever it returns.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],

      // An async function without await turns a thrown argument error into a rejection, which is what callers expect.
      '@typescript-eslint/require-await': 'off',
      // Brackets tell a name that may not be there (process.env['NAME']) from a declared property.
      '@typescript-eslint/dot-notation': 'off',
    },
  },
  {
    // The way down is straight: the addon has one door, and the library knows nothing of what is built on it.
    files: ['lib/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: [{ name: 'bindings', message: 'Only lib/addon/load.ts loads the addon.' }],
          patterns: [{ regex: '^(\\.\\./)+(test|scripts|examples)/', message: 'lib/ stands on its own.' }],
        },
      ],
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      // Compiled modules use these names: a variable of the same name hides what the module exports.
      'id-denylist': ['error', 'exports', 'require'],
    },
  },
  {
    files: ['**/*.cjs'],
    languageOptions: { globals: { __dirname: 'readonly', Buffer: 'readonly', process: 'readonly' } },
  },
  { files: ['lib/addon/load.ts'], rules: { 'no-restricted-imports': 'off' } },
  {
    files: ['test/**/*.ts'],
    rules: {
      // A test that meets undefined here should fail right here.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Tests hand over what the types forbid, and stub what must not be called.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
);
