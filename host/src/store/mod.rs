//! Where withdrawals and events are kept: small traits, one for each of those who ask.
//!
//! A method is a use case and one transaction. Guards stand in the WHERE clause, and the number of
//! rows decides: nothing is read first and written later. Two stores stand behind the traits,
//! SQLite (embedded) and Postgres (several hosts); both pass `conformance`. Only this folder
//! contains SQL. Times are the database's: requests carry durations, never points in time.

mod accepting;
mod accounting;
mod approving;
mod auditing;
mod backing_up;
mod backlog;
mod batch;
mod breaking;
mod checkpointing;
mod checks;
#[cfg(test)]
mod conformance;
mod controlling;
mod dispatching;
mod error;
mod fault;
mod gather;
mod limiting;
mod maintaining;
mod migrate;
mod moving;
mod open;
mod operating;
mod paying;
mod plan;
mod policies;
mod policing;
mod postgres;
mod releases;
mod releasing;
mod repairing;
mod retaining;
mod row;
mod sign;
mod sqlite;
mod unrouting;
mod views;
mod wakeup;
mod writes;

pub use accepting::{
    AcceptEvents, AcceptStore, AcceptWithdrawal, Accepted, AcceptedEvents, Answer, IdempotencyClaim,
};
pub use accounting::{Account, AccountChange, AccountNote, AccountStore};
pub use approving::{ApprovalStore, ApprovedManifest, MANIFESTS_MAX};
pub use auditing::{
    Audit, AuditError, AuditProgress, AuditRequest, CheckReport, OrderedType, Violation, audit,
};
pub use backing_up::{BackupError, BackupProgress, backup};
pub use backlog::{BACKLOG_COUNT_MAX, Backlog, BacklogStore, Count, TypeBacklog, backlog_of};
#[cfg(test)]
pub(crate) use breaking::memory::MemoryBreakers;
pub use breaking::{Breaker, BreakerKey, BreakerStore};
pub use checkpointing::CheckpointStore;
pub use controlling::{ControlChange, ControlNote, ControlStore, RouteControl};
pub use dispatching::{
    AttemptRecord, CLAIM_MAX, Claim, DispatchStore, LeaseRef, Settled, Settlement,
};
pub use error::StoreError;
pub use fault::StoreFault;
pub use limiting::{Bucket, FleetLimit, LimitStore, LimitedClaim, RouteLimits};
pub use maintaining::MaintainStore;
pub use migrate::{MigrationState, MigrationStatus, migrate, migration_status};
pub use moving::{MoveError, MoveProgress, Moved, MovedTable, move_store, undo_move};
pub use open::{OpenError, PostgresUrl, StoreOptions, StoreUrl, StoreUrlError, open};
pub use operating::{OperateStore, counters};
pub use paying::{
    ChainStore, Conclude, Concluded, SignClosing, SignPayment, Signing, SigningRules,
};
pub use policing::{
    AWAITED_MAX, Approver, AwaitedApprovals, NoApproval, PolicyDecision, PolicyStore,
    WithdrawalApproval, WithdrawalApproved, WithdrawalRejected, WithdrawalWait,
};
pub use postgres::Pooler;
pub use releasing::{
    Approved, BlameStore, DecisionKind, Deploy, Deployed, FAILURES_MAX, FailureGroup,
    HOST_GONE_AFTER, PluginRelease, PluginStanding, ReleaseDecision, ReleaseNote, ReleaseStore,
    ReplayFailed, RolledBack,
};
pub use repairing::{Cancelled, CancelledWithdrawal, RepairStore, Skipped};
pub use retaining::RetainStore;
pub use unrouting::UnroutedStore;
pub use views::{
    EventFilter, EventHistory, HistoryEntry, HistoryKind, Page, Replayed, Timeline,
    TransitionRecord, WithdrawalFilter,
};

/// Everything that a store does. Each user asks for the part that it needs.
pub trait Store:
    AcceptStore
    + DispatchStore
    + MaintainStore
    + CheckpointStore
    + AccountStore
    + ChainStore
    + OperateStore
    + RetainStore
    + ControlStore
    + BacklogStore
    + RepairStore
    + LimitStore
    + UnroutedStore
    + BreakerStore
    + ReleaseStore
    + BlameStore
    + ApprovalStore
    + PolicyStore
{
}

impl<T> Store for T where
    T: AcceptStore
        + DispatchStore
        + MaintainStore
        + CheckpointStore
        + AccountStore
        + ChainStore
        + OperateStore
        + RetainStore
        + ControlStore
        + BacklogStore
        + RepairStore
        + LimitStore
        + UnroutedStore
        + BreakerStore
        + ReleaseStore
        + BlameStore
        + ApprovalStore
        + PolicyStore
{
}
