-- What the jobs in the background have done, and who did it last.
create table jobs (
  name text constraint jobs_pkey primary key,
  started_at timestamptz not null,
  -- Who runs it, or ran it last.
  instance text not null,
  finished_at timestamptz,
  succeeded_at timestamptz,
  duration_ms double precision,
  -- What the last run that succeeded dealt with: rows, or partitions.
  result_count bigint,
  -- Of the last run, if that failed.
  error text,
  failure_count bigint not null default 0
) with (fillfactor = 50);
