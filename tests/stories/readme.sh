# SPDX-License-Identifier: Apache-2.0
# The README's commands do what it says, as they stand there; tests/run calls this in a host.
. tests/stories/lib.sh

# follow SECTION: runs the commands of that section. What the reader builds lies ready here, the shell
# wants a terminal (console.c's tests have one), and a thousand jobs are three.
follow() {
	{
		echo "kernel=$MAYFLY_STOCK/vmlinux initrd=$MAYFLY_INITRD"
		awk -v head="## $1" '/^## / { inside = $0 == head } /^```/ { code = !code; next } inside && code' README.md |
			grep -v -e '^make ' -e '^tests/host/run ' -e ' -- uname -r$' -e '# a shell; ' | sed 's/^seq 1000 /seq 3 /'
	} > "$T/commands"
	sh "$T/commands" < /dev/null > "$T/out" 2> "$T/err"
	status=$?
}

story "README: a microVM by hand"
follow "A microVM by hand"
ends_with 0
shows "stock kernels boot"
shows "-cloud-amd64"
holds grep -qx 42 "$T/out"
holds grep -qx hello "$T/out"

story "README: a function, a thousand jobs, a CI job"
follow "From a script"
ends_with 0
prints '{"answer": 20}
job 1
job 2
job 3
built'

story "README: two microVMs on a network of their own"
follow "Networks"
ends_with 0
prints hello

story "README: a microVM over the API, paused and resumed"
follow "A microVM over the API"
ends_with 0
shows '"mem_size_mib":256'
shows '{"id":"anonymous-instance","state":"Paused",'
holds grep -q '^hello' "$T/out"
holds [ "$(tail -n 1 "$T/out")" = 0 ]

story "README: a guest that is ready once, and answers in each clone"
follow "Snapshots and clones"
ends_with 0
holds [ "$(grep -o '^answer [0-9]*' "$T/out")" = 'answer 7
answer 14
answer 21' ]

the_end
