// SPDX-License-Identifier: Apache-2.0
/*
 * The guest that bench/boot looks at while it runs: hello's line, then nothing for good, until the
 * monitor is killed. It stands on tests/guest/ and is never timed.
 */
#include "../tests/guest/guest.h"

int guest_main(void)
{
	print("Hello, I stay\n");
	spin();
}
