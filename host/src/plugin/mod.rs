//! The plugin host: manifests, releases, routes, and the sandboxed call. Knows no SQL.
