package access

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/skerrydb/skerry/proto/admin/v1"
	_ "github.com/skerrydb/skerry/proto/metastore/v1"
	_ "github.com/skerrydb/skerry/proto/node/v1"
	_ "github.com/skerrydb/skerry/proto/raftnode"
)

// ourMethods returns the full names of all methods that we have generated code for.
func ourMethods(t *testing.T) []string {
	t.Helper()
	var methods []string
	found := map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			if name := string(service.FullName()); strings.HasPrefix(name, "skerry.") || strings.HasPrefix(name, "metastore.") || strings.HasPrefix(name, "raft_node.") {
				found[string(service.Name())] = true
				for j := range service.Methods().Len() {
					methods = append(methods, "/"+name+"/"+string(service.Methods().Get(j).Name()))
				}
			}
		}
		return true
	})
	// A service in a package that is not imported here would be missed.
	declaration := regexp.MustCompile(`(?m)^service (\w+)`)
	tree := os.DirFS("../../../proto")
	declared := 0
	err := fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".proto") {
			return err
		}
		content, err := fs.ReadFile(tree, path)
		for _, match := range declaration.FindAllSubmatch(content, -1) {
			declared++
			if name := string(match[1]); !found[name] {
				t.Errorf("%s declares %s: import its package in this test", path, name)
			}
		}
		return err
	})
	if err != nil || declared == 0 {
		t.Fatalf("%d services declared, %v", declared, err)
	}
	return methods
}

// Every method of ours can be called by somebody, and none by everybody.
func TestEveryMethodHasARole(t *testing.T) {
	for _, method := range ourMethods(t) {
		if role, ok := MethodRole(method); !ok || role == Open {
			t.Errorf("%s has no role: add it to the table of its service", method)
		}
	}
}

// Reading is for the methods listed here: a new one whose name looks like it is
// looked at by somebody who adds it.
func TestReaders(t *testing.T) {
	want := map[string]bool{
		"/metastore.v1.IndexService/GetBlockMetadata": true, "/metastore.v1.TenantService/GetTenants": true,
		"/metastore.v1.TenantService/GetTenant": true, "/metastore.v1.MetadataQueryService/QueryMetadata": true,
		"/metastore.v1.MetadataQueryService/QueryMetadataLabels": true,
		"/raft_node.RaftNodeService/ReadIndex":                   true, "/raft_node.RaftNodeService/NodeInfo": true,
		"/skerry.admin.v1.AdminService/Status": true, "/skerry.admin.v1.AdminService/CompactionStatus": true,
		"/skerry.admin.v1.AdminService/ListTombstones": true, "/skerry.admin.v1.AdminService/PlanRetention": true,
		"/skerry.admin.v1.AdminService/ClusterState": true, "/skerry.admin.v1.AdminService/TransferStatus": true,
		"/skerry.admin.v1.AdminService/DescribePlacement": true,
	}
	for _, method := range ourMethods(t) {
		role, _ := MethodRole(method)
		// Names of admin methods follow the rule; others are listed.
		if !strings.HasPrefix(method, "/skerry.admin.") && (role == Read) != want[method] || want[method] && role != Read {
			t.Errorf("%s takes %s", method, role)
		}
	}
}

func TestMethodRole(t *testing.T) {
	const refused = Roles(0xff)
	for method, want := range map[string]Roles{
		"/metastore.v1.IndexService/AddBlock":                Write,
		"/metastore.v1.CompactionService/PollCompactionJobs": Write,
		"/metastore.v1.TenantService/DeleteTenant":           Operate,
		"/skerry.admin.v1.AdminService/ControlCompaction":    Operate,
		"/skerry.admin.v1.AdminService/ImportBlocks":         Operate,
		"/skerry.admin.v1.AdminService/ImportTombstones":     Operate,
		"/skerry.admin.v1.AdminService/Operate":              Operate,
		"/skerry.admin.v1.AdminService/GetDLQStatus":         Read,
		"/skerry.admin.v1.AdminService/ListDLQ":              Read,
		"/skerry.admin.v1.AdminService/GetDLQEntry":          Read,
		"/skerry.admin.v1.AdminService/RetryDLQ":             Operate,
		"/skerry.admin.v1.AdminService/PurgeDLQ":             Operate,
		"/raft_node.RaftNodeService/RemoveNode":              Operate,
		"/skerry.node.v1.NodeService/DeleteTenant":           Node,
		"/grpc.health.v1.Health/Check":                       Open,
		"/grpc.health.v1.Health/Watch":                       Open,
		// By the look of their names.
		"/skerry.admin.v1.AdminService/DescribeGroup":  Read,
		"/skerry.admin.v1.AdminService/DoctorAll":      Read,
		"/skerry.admin.v1.AdminService/WatchCluster":   Read,
		"/skerry.admin.v1.AdminService/GroupStatus":    Read,
		"/skerry.admin.v1.AdminService/Getaway":        Operate,
		"/skerry.admin.v1.AdminService/SetNodeState":   Operate,
		"/skerry.admin.v1.AdminService/ResetStatus":    Operate,
		"/skerry.admin.v1.AdminService/DeleteTenant":   Operate,
		"/metastore.v1.IndexService/NewMethod":         refused,
		"/raft_node.RaftNodeService/NewMethod":         refused,
		"/skerry.admin.v1.AdminService/":               refused,
		"/skerry.admin.v1.AdminService":                refused,
		"skerry.admin.v1.AdminService/Status":          refused,
		"/skerry.admin.v1.AdminService/x/Status":       refused,
		"/skerry.admin.v1.OtherService/Status":         refused,
		"/grpc.reflection.v1.ServerReflection/Reflect": refused,
		"": refused, "/": refused,
	} {
		got, ok := MethodRole(method)
		if !ok {
			got = refused
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", method, got, want)
		}
	}
}

func TestRoles(t *testing.T) {
	if !Operate.allow(Read) || Operate.allow(Write) || Operate.allow(Node) || Node.allow(Read) || Write.allow(Read) || Roles(0).allow(Read) {
		t.Error("a role includes what it should not, or not what it should")
	}
	if got := (Read | Node).String(); got != "read,node" {
		t.Errorf("got %s", got)
	}
}
