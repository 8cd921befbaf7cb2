"""Keeps the holds of an engine and those of a remote Cal.com in step.

Words of this package:

- *Here* is the engine's side; *there* is at the remote.
- A reservation is *tracked* while it has, or should have, a hold there.
- The *desired* state of a hold there follows from the engine; the *observed* state is what is known
  from responses.
- To *settle* a tracked hold is to send requests until both states agree or nothing can be done now.
- An *orphan* is a hold there whose uid is unknown, because the response to its POST was lost.
- A hold is *given back* if it is released here before its caller was given it, and *revoked* if it
  is released here afterwards because the remote does not hold the slot.

`sync` has the class that callers use, and `values` its settings and results.

- `verbs` and `confirm` are the steps of each verb; `rollback` undoes what the remote refuses.
- `next_step` decides the next request for a hold; `outbound` settles holds by its decisions, with
  `requests`, `work_queue` and `renewals`.
- `index` has all `tracked_hold`s and `orphans`; `remote_state`, `remote_span` and `clock_skew` say
  what is known of the remote.
- `inbound` polls the remote's slots, and `remote_busy` works out who is busy there.
- `audit` compares both sides in full; `restore` continues from a saved state; `monitor` counts.
"""
