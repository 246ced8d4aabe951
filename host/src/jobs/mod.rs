//! The duties that run beside the API. One file each; no job calls another.
