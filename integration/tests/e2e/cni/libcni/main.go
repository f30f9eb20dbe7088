// Calls plugins through CNI's own library: add|check|del LIST CACHE PATH ID NETNS IFNAME.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

func call() error {
	if len(os.Args) != 8 {
		return fmt.Errorf("add|check|del LIST CACHE PATH ID NETNS IFNAME")
	}
	list, err := libcni.ConfListFromFile(os.Args[2])
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Args[4]), os.Args[3], nil)
	runtime := &libcni.RuntimeConf{ContainerID: os.Args[5], NetNS: os.Args[6], IfName: os.Args[7]}
	if args := os.Getenv("CAP_ARGS"); args != "" {
		if err := json.Unmarshal([]byte(args), &runtime.CapabilityArgs); err != nil {
			return err
		}
	}
	ctx := context.Background()
	switch os.Args[1] {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, runtime)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, list, runtime)
	case "del":
		return cni.DelNetworkList(ctx, list, runtime)
	}
	return fmt.Errorf("%s is unknown", os.Args[1])
}

func main() {
	if err := call(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
