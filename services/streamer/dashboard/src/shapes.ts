// What the API answers, as far as the pages read it: see /docs for all of it.

export interface Dashboard {
  system: { version: string; uptime_seconds: number; environment: string };
  jobs: {
    total: number;
    pending: number;
    scheduled: number;
    processing: number;
    completed_24h: number;
    failed_24h: number;
    deadletter: number;
    avg_wait_time_ms: number | null;
    avg_processing_time_ms: number | null;
  };
  queues: { name: string; pending: number; processing: number; paused: boolean }[];
  workers: { total: number; healthy: number; unhealthy: number };
}

export interface Point {
  at: string;
  created: number;
  completed: number;
  failed: number;
  retried: number;
  open: number;
  avg_processing_time_ms: number | null;
  avg_wait_time_ms: number | null;
}

export interface Group {
  queue_name: string;
  dead_reason: string;
  error: string;
  count: number;
  first_at: string;
  last_at: string;
}

export interface Groups {
  groups: Group[];
  examined: number;
  complete: boolean;
}

export interface JobSummary {
  id: string;
  queue_name: string;
  job_type: string;
  status: string;
  priority: number;
  retry_count: number;
  attempt: number;
  max_retries: number;
  last_error: string | null;
  dead_reason: string | null;
  tags: unknown;
  workflow_id: string | null;
  created_at: string;
  scheduled_at: string | null;
  started_at: string | null;
  completed_at: string | null;
}

export interface Target {
  url?: string;
  method?: string;
  headers?: Record<string, string>;
  timeout_seconds?: number;
  endpoint_id?: string;
}

export interface Job extends JobSummary {
  payload: unknown;
  result: unknown;
  expires_at: string | null;
  updated_at: string;
  timeout_seconds: number;
  parent_job_id: string | null;
  completion_webhook: string | null;
  assigned_worker_id: string | null;
  lease_id: string | null;
  lease_expires_at: string | null;
  idempotency_key: string | null;
  target: Target | null;
  message_id: string | null;
  webhook_id: string | null;
  concurrency_key: string | null;
  ordering_key: string | null;
}

export interface Happening {
  id: string;
  event_type: string;
  worker_id: string | null;
  attempt: number;
  details: Record<string, unknown> | null;
  created_at: string;
}

export interface Attempt {
  job_id: string;
  attempt: number;
  outcome: "delivered" | "refused" | "unanswered" | "lost";
  worker_id: string | null;
  started_at: string;
  duration_ms: number;
  status_code: number | null;
  error: string | null;
  response_headers: unknown;
  response_body: string | null;
}

export interface EndpointAttempt extends Attempt {
  message_id: string | null;
  webhook_id: string;
  event_type: string | null;
}

export interface Explanation {
  place: string;
  reason: string;
  message: string;
  until: string | null;
  before: number | null;
  parents: { job_id: string; key: string | null; status: string }[];
  line: { key: string; before: number; holders: string[] } | null;
}

export interface Queue {
  queue_name: string;
  max_retries: number;
  default_timeout: number;
  rate_limit: number | null;
  enabled: boolean;
  paused: boolean;
}

export interface QueueStats {
  queue_name: string;
  pending_jobs: number;
  scheduled_jobs: number;
  processing_jobs: number;
  deadletter_jobs: number;
  completed_jobs_24h: number;
  failed_jobs_24h: number;
  avg_processing_time_ms: number | null;
  avg_wait_time_ms: number | null;
  max_job_age_seconds: number | null;
  active_workers: number;
}

export interface Endpoint {
  id: string;
  url: string;
  description: string | null;
  event_types: string[];
  filter: unknown;
  headers: Record<string, string> | null;
  format: string;
  enabled: boolean;
  disabled_reason: string | null;
  disabled_at: string | null;
  timeout_seconds: number;
  max_retries: number;
  rate_limit_per_second: number | null;
  max_concurrency: number;
  ordered: boolean;
  signature_scheme: string;
  public_key: string | null;
  stats: {
    succeeded_24h: number;
    failed_24h: number;
    success_ratio_24h: number | null;
    average_duration_ms_24h: number | null;
    breaker: string;
    open_until: string | null;
    throttled_until: string | null;
    consecutive_failures: number;
    failing_since: string | null;
    last_success_at: string | null;
    last_failure_at: string | null;
    last_error: string | null;
    waiting: number;
  };
  created_at: string;
}

export interface RotatedSecret {
  secret: string;
  public_key: string | null;
  signature_scheme: string;
  created_at: string;
  previous: { expires_at: string }[];
}

export interface EndpointTest {
  success: boolean;
  status_code: number | null;
  response_time_ms: number;
  error: string | null;
  response_body: string | null;
}

export interface Replay {
  id: string;
  status: string;
  since: string;
  until: string;
  state: string;
  total: number | null;
  examined: number;
  replayed: number;
  progress_percent: number | null;
  created_at: string;
}

export interface WorkflowSummary {
  id: string;
  name: string;
  description: string | null;
  status: string;
  policy: string;
  total_jobs: number;
  completed_jobs: number;
  failed_jobs: number;
  cancelled_jobs: number;
  skipped_jobs: number;
  progress_percent: number;
  created_at: string;
  started_at: string | null;
  completed_at: string | null;
}

export interface WorkflowJob {
  id: string;
  key: string;
  queue_name: string;
  status: string;
  skipped: boolean;
  attempt: number;
  started_at: string | null;
  completed_at: string | null;
  error: { message: string } | null;
  depends_on: string[];
}

export interface Edge {
  parent_job_id: string;
  child_job_id: string;
  dependency_type: "success" | "completion" | "failure";
}

export interface Workflow extends WorkflowSummary {
  jobs: WorkflowJob[];
  dependencies: Edge[];
}

export interface Schedule {
  id: string;
  name: string;
  description: string | null;
  cron_expression: string;
  timezone: string;
  queue_name: string;
  payload_template: unknown;
  is_active: boolean;
  state: string;
  last_run_at: string | null;
  next_run_at: string | null;
  /** The same without the jitter. */
  next_tick: string | null;
  run_count: number;
  target: Target | null;
  misfire: string;
  overlap: string;
  jitter_seconds: number;
  start_at: string | null;
  end_at: string | null;
  created_at: string;
}

export interface Run {
  id: string;
  job_id: string | null;
  status: string;
  error_message: string | null;
  started_at: string;
  completed_at: string | null;
  job_status: string | null;
  tick: string | null;
  source: string;
  missed: number;
}

export interface Worker {
  id: string;
  queue_name: string;
  queue_names: string[];
  hostname: string;
  worker_type: string | null;
  status: string;
  max_concurrency: number;
  current_jobs: number;
  jobs_processed: number;
  jobs_failed: number;
  version: string | null;
  last_heartbeat: string;
  registered_at: string;
}

export interface Key {
  id: string;
  name: string;
  queues: string[];
  rate_limit: number | null;
  is_active: boolean;
  created_at: string;
  last_used: string | null;
  expires_at: string | null;
}

export interface NewKey extends Key {
  key: string;
}

export interface Usage {
  plan_display_name: string;
  usage: Record<
    string,
    { current: number; limit: number | null; percentage: number | null }
  >;
}
