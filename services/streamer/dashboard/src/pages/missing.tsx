// An address that leads nowhere.

import { Empty, Head, Link } from "../ui/parts";

export function Missing() {
  return (
    <>
      <Head title="Nothing here" />
      <Empty title="This address leads nowhere.">
        <Link to="/">To the overview</Link>
      </Empty>
    </>
  );
}
