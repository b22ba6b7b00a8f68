package access

import "strings"

// Open is the role of methods that everybody may call.
const Open Roles = 0

// services says by the beginning of a full method name how its role is found.
// Within a service names decide, so that a new method is not forgotten: what does
// not look like reading takes the stronger role. The longest rules come first.
var services = []struct {
	prefix string
	role   func(method string) (Roles, bool)
}{
	{"/grpc.health.v1.Health/", always(Open)},
	{"/skerry.node.v1.NodeService/", always(Node)},
	{"/skerry.admin.v1.AdminService/", reading(Operate)},
	{"/raft_node.RaftNodeService/", only(map[string]Roles{
		"ReadIndex": Read, "NodeInfo": Read,
		"RemoveNode": Operate, "AddNode": Operate, "DemoteLeader": Operate, "PromoteToLeader": Operate,
	})},
	{"/metastore.v1.MetadataQueryService/", reading(Operate)},
	{"/metastore.v1.TenantService/", reading(Operate)},
	{"/metastore.v1.IndexService/", only(map[string]Roles{"AddBlock": Write, "GetBlockMetadata": Read})},
	{"/metastore.v1.CompactionService/", only(map[string]Roles{"PollCompactionJobs": Write})},
}

// MethodRole returns the role that a full method name takes, Open if none; false
// for methods that nobody may call.
func MethodRole(fullMethod string) (Roles, bool) {
	for _, service := range services {
		if method, ok := strings.CutPrefix(fullMethod, service.prefix); ok && method != "" && !strings.Contains(method, "/") {
			return service.role(method)
		}
	}
	return 0, false
}

// always gives every method of a service the same role.
func always(role Roles) func(string) (Roles, bool) {
	return func(string) (Roles, bool) { return role, true }
}

// only lists every method of a service.
func only(methods map[string]Roles) func(string) (Roles, bool) {
	return func(method string) (Roles, bool) {
		role, ok := methods[method]
		return role, ok
	}
}

// Methods that change nothing begin or end so.
var (
	readPrefixes = []string{"Get", "List", "Query", "Plan", "Doctor", "Watch", "Describe", "Explain", "Status"}
	readSuffixes = []string{"Status", "State"}
)

// reading asks for Read if the name says that nothing is changed, and otherwise
// for another role. A verb at the begin wins: SetState changes.
func reading(otherwise Roles) func(string) (Roles, bool) {
	return func(method string) (Roles, bool) {
		for _, prefix := range readPrefixes {
			if rest, ok := strings.CutPrefix(method, prefix); ok && (rest == "" || rest[0] >= 'A' && rest[0] <= 'Z') {
				return Read, true
			}
		}
		for _, suffix := range readSuffixes {
			// The nouns that have a state: a list, since the rest may be a verb.
			if noun, ok := strings.CutSuffix(method, suffix); ok && (noun == "Compaction" || noun == "Transfer" || noun == "Cluster" || noun == "Group" || noun == "Node") {
				return Read, true
			}
		}
		return otherwise, true
	}
}
