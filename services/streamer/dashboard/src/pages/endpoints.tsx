// The receivers: which of them are well, and which are not.

import { count, duration, percent } from "../format";
import { about, aboutJobs } from "../query";
import type { Endpoint } from "../shapes";
import { Paged } from "../ui/pages";
import { Badge, Card, Empty, Head, Link, Table, When } from "../ui/parts";

export const standing = (one: Endpoint): string =>
  !one.enabled
    ? "disabled"
    : one.stats.breaker !== "closed"
      ? one.stats.breaker
      : one.stats.consecutive_failures > 0
        ? "degraded"
        : "healthy";

const SPOKEN: Record<string, string> = {
  open: "breaker open",
  half_open: "breaker on trial",
};

export function Standing({ of }: { of: Endpoint }) {
  const word = standing(of);
  return <Badge of={word}>{SPOKEN[word]}</Badge>;
}

export function Endpoints() {
  return (
    <>
      <Head
        title="Endpoints"
        note="Receivers of webhooks, with what the last 24 hours were like."
      />
      <Paged<Endpoint>
        path="/endpoints?limit=50"
        by="offset"
        when={(frame) => about("Endpoint")(frame) || aboutJobs(frame)}
        id={(one) => one.id}
      >
        {(rows) =>
          rows.length === 0 ? (
            <Card>
              <Empty title="No endpoints yet.">
                <p>
                  Make one with <code>POST /api/v1/endpoints</code>; then messages go to
                  it. <a href="/docs#endpoints">How</a>
                </p>
              </Empty>
            </Card>
          ) : (
            <Card flush>
              <Table
                label="Endpoints"
                rows={rows}
                id={(one) => one.id}
                columns={[
                  {
                    name: "Endpoint",
                    kind: "wide",
                    cell: (one) => (
                      <Link to={`/endpoints/${one.id}`} class="strong">
                        <span class="clip">{one.url}</span>
                        {one.description && <span class="sub">{one.description}</span>}
                      </Link>
                    ),
                  },
                  { name: "Health", cell: (one) => <Standing of={one} /> },
                  {
                    name: "Success",
                    kind: "number",
                    cell: (one) => percent(one.stats.success_ratio_24h),
                  },
                  {
                    name: "Average",
                    kind: "number",
                    cell: (one) => duration(one.stats.average_duration_ms_24h),
                  },
                  {
                    name: "Waiting",
                    kind: "number",
                    cell: (one) => count(one.stats.waiting),
                  },
                  {
                    name: "Last success",
                    cell: (one) => <When at={one.stats.last_success_at} />,
                  },
                ]}
              />
            </Card>
          )
        }
      </Paged>
    </>
  );
}
